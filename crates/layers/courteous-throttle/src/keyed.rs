use std::{
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use courteous_core::{Origin, RequestView};
use courteous_limit::Wakes;
use courteous_limit::{
    BucketSnapshot, ByOrigin, InvalidRates, KeyOf, KeyedMap, Labels, LimitId, Overflow, Sought,
    ThrottleSnapshot,
};
use tokio::time::Instant;

use crate::{Bucket, Partition, Rate, bucket::WeakBucket};

/// A bucket for each key: for each host, or each credential.
///
/// A key's bucket is made when it is first needed. It may be forgotten once it would do the same as
/// a new one. That is so if it is full and open, has no rate that was set for it alone, and no
/// other handle of it exists. With more than 64 keys, each new key looks at four others for a
/// bucket that can be forgotten. So memory is bounded by the keys in use and a third more, and by
/// [`with_max_keys`](Self::with_max_keys). No debt is ever forgotten, and no closed bucket.
///
/// # Too many keys
///
/// A new key is never rejected because others are in use. If there is no room for it, it draws on
/// one of 64 buckets that such keys share, at the template's rates. So each of these keys still
/// keeps to its rate, and some get less than that. If no rate is set, the key passes at once. What
/// a server says to one of these keys is not kept, as it does not hold for the others. A retry
/// outside still obeys it.
///
/// With a bucket for each origin, no group of hosts has more than a quarter of the buckets (rounded
/// up). Further names of a group share one bucket. So a server with many names leaves room for
/// others. Hosts belong to one group if the last two labels of their names are the same, or the
/// first 24 bits of their IPv4 addresses, or the first 64 bits of their IPv6 addresses. Keys of
/// other kinds have no group.
///
/// # Sharing
///
/// Clones have the same buckets. The handles of the template change only the template. What is set
/// there holds for new keys, and for known keys only after they were forgotten.
/// [`set_rate`](Self::set_rate) and [`set_rate_on`](Self::set_rate_on) hold for all keys at once.
/// The `Hash` and `Eq` of a key run under the lock of the keys: they must not make a call
/// themselves.
pub struct Keyed<K, F> {
    shared: Arc<Shared<K>>,
    key_of: F,
}

/// A bucket for each [origin](RequestView::origin).
pub type PerOrigin = Keyed<Origin, ByOrigin>;

struct Shared<K> {
    keys: Mutex<Keys<K>>,
    /// Held while the rate is changed, so that all keys end up with the same rate. It is not the
    /// lock of the keys, because it is held for long.
    changing: Mutex<()>,
}

struct Keys<K> {
    buckets: KeyedMap<K, Bucket>,
    /// The buckets of keys for which there was no room.
    shared: Overflow<Bucket>,
    template: Bucket,
    start_empty: bool,
    labels: Option<Labels<K>>,
}

impl PerOrigin {
    /// Gives every origin a bucket like `template`.
    #[must_use]
    pub fn per_origin(template: Bucket) -> Self {
        let keyed = Self::of(KeyedMap::per_origin(), template, ByOrigin);
        keyed.with_labels(Labels::origins())
    }
}

impl<K: Eq + Hash, F: Fn(RequestView<'_>) -> K> Keyed<K, F> {
    /// Gives every key a bucket like `template`. The tokens of the template itself are not used.
    /// `key_of` says which key a request has.
    #[must_use]
    pub fn new(template: Bucket, key_of: F) -> Self {
        Self::of(KeyedMap::new(), template, key_of)
    }
}

impl<K: Eq + Hash, F> Keyed<K, F> {
    /// Gives at most `max` keys a bucket of their own at a time. The default is 10,000. Each takes
    /// about 140 bytes and the size of the key. What becomes of further keys is told
    /// [above](Self#too-many-keys).
    ///
    /// At the maximum, a new key looks at up to 256 others for one that can be forgotten. The next
    /// new key goes on from there. So if one of 10,000 keys can be forgotten, one of 40 calls finds
    /// it. Until then, the key counts as in use.
    #[must_use]
    pub fn with_max_keys(self, max: NonZeroUsize) -> Self {
        self.lock().buckets.set_max(max);
        self
    }

    /// Gives every new key an empty bucket instead of a full one.
    #[must_use]
    pub fn start_empty(self) -> Self {
        self.lock().start_empty = true;
        self
    }

    /// Shows keys in snapshots as `labels` says. By default, only origins are shown, and no other
    /// keys, as they may be credentials.
    #[must_use]
    pub fn with_labels(self, labels: Labels<K>) -> Self {
        self.lock().labels = Some(labels);
        self
    }

    /// Sets `rate` for every key: see [`Bucket::set_rate`]. If there are
    /// [several limits](Bucket::joint), this changes the limit whose handle was the template.
    pub fn set_rate(&self, rate: Rate) {
        self.set_rates(&[rate]);
    }

    /// Sets `rates` for every key: see [`Bucket::set_rates`].
    pub fn set_rates(&self, rates: &[Rate]) {
        self.change(None, rates);
    }

    /// Does the same as [`set_rate`](Self::set_rate), for `limit`: a handle of the template.
    /// Nothing changes if the template has no such limit.
    pub fn set_rate_on(&self, limit: impl Into<LimitId>, rate: Rate) {
        self.change(Some(limit.into()), &[rate]);
    }

    fn change(&self, limit: Option<LimitId>, rates: &[Rate]) {
        let handle = |bucket: &Bucket| match limit {
            Some(limit) => bucket.limit(limit),
            None => Some(bucket.clone()),
        };
        let mut wakes = Wakes::new();
        let changing = self.shared.changing.lock();
        let changing = changing.unwrap_or_else(PoisonError::into_inner);
        let keys = self.lock();
        if let Some(template) = handle(&keys.template) {
            template.set_rates_into(rates, &mut wakes);
        }
        let buckets = keys.all();
        drop(keys);
        for bucket in buckets.iter().filter_map(WeakBucket::upgrade) {
            let Some(bucket) = handle(&bucket) else {
                continue;
            };
            bucket.set_rates_into(rates, &mut wakes);
        }
        drop(changing);
        // A waker may run any code, such as another change of the rate.
        wakes.wake();
    }

    /// The bucket of `key`, if the key has one of its own. [`Bucket::limit`] returns the handle of
    /// another limit.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Bucket> {
        self.lock().buckets.get(key).cloned()
    }

    /// How many keys have a bucket of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().buckets.len()
    }

    /// Whether no key has a bucket of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash, F> Keyed<K, F> {
    /// The bucket of a key that was not known a moment ago.
    #[cold]
    fn insert(&self, key: K) -> Bucket {
        // Dropped without the lock, as dropping a key may run any code.
        let mut forgotten = Vec::new();
        let mut keys = self.lock();
        let known = keys.buckets.get(&key).cloned();
        let (bucket, unused) = match known {
            Some(known) => (known, Some(key)),
            None => keys.insert(key, &mut forgotten),
        };
        drop(keys);
        drop(unused);
        bucket
    }
}

impl<K, F> Keyed<K, F> {
    /// What is in force now: for a health check, or a support ticket. Shows the ten keys that hold
    /// up the most calls.
    ///
    /// Takes one pass over all keys, most of them without a lock: some 2 ms for 10,000.
    #[must_use]
    pub fn snapshot(&self) -> ThrottleSnapshot {
        let now = Instant::now();
        let mut snapshot = ThrottleSnapshot::default();
        let keys = self.lock();
        let (template, labels) = (keys.template.clone(), keys.labels);
        let len = keys.buckets.len();
        let buckets = keys.all();
        drop(keys);
        snapshot.rates = template.snapshot_rates();
        let states = buckets.iter().map(|bucket| match bucket.upgrade() {
            Some(bucket) => bucket.snapshot_at(now),
            // The bucket was forgotten meanwhile, as it was at rest.
            None => {
                let mut bucket = BucketSnapshot::default();
                bucket.available = Some(u32::MAX);
                bucket
            }
        });
        let shown = snapshot.add(Some(len), states);
        let shown: Vec<_> = shown.iter().map(|&at| &buckets[at]).collect();
        // The keys of the shown buckets: they are cloned under the lock, and shown without it.
        let place = |bucket: &Bucket| shown.iter().position(|other| other.is(bucket));
        let keys = labels.map(|labels| self.lock().buckets.keys_of(place, labels.cloning()));
        snapshot.label(labels.as_ref(), keys.unwrap_or_default());
        snapshot
    }

    fn of(buckets: KeyedMap<K, Bucket>, template: Bucket, key_of: F) -> Self {
        let keys = Mutex::new(Keys {
            buckets,
            shared: Overflow::new(),
            template,
            start_empty: false,
            labels: None,
        });
        let changing = Mutex::new(());
        Self {
            shared: Arc::new(Shared { keys, changing }),
            key_of,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Keys<K>> {
        let keys = self.shared.keys.lock();
        keys.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Keys<K> {
    /// Returns weak handles. Strong ones would keep unused buckets from giving way to a new key.
    fn all(&self) -> Vec<WeakBucket> {
        let buckets = self.buckets.values().chain(self.shared.values());
        buckets.map(Bucket::downgrade).collect()
    }
}

impl<K: Eq + Hash> Keys<K> {
    /// The bucket of a key that is not known. If there is no room for the key, also returns the
    /// key. What is forgotten is left in `forgotten`.
    fn insert(&mut self, key: K, forgotten: &mut Vec<(K, Bucket)>) -> (Bucket, Option<K>) {
        let Self {
            buckets,
            shared,
            template,
            start_empty,
            ..
        } = self;
        let now = Instant::now();
        let rates = template.all_rates();
        let is_spare = |bucket: &Bucket| bucket.is_spare(&rates, now);
        let place = buckets.place(&key);
        // What the key may have drawn from a shared bucket counts.
        let in_debt = shared.shared_by(place).any(|shared| shared.is_in_debt(now));
        let new = || template.fresh(*start_empty || in_debt, now);
        match buckets.insert(place, key, is_spare, new, forgotten) {
            Ok(bucket) => (bucket.clone(), None),
            Err(no_room) => {
                let new = || template.fresh_shared(*start_empty, now);
                let bucket = shared.get_or_insert(&no_room, is_spare, new);
                (bucket.clone(), Some(no_room.into_key()))
            }
        }
    }
}

impl<K, F> Partition for Keyed<K, F>
where
    K: Eq + Hash,
    F: KeyOf<K>,
{
    type Store = Bucket;

    fn select(&self, head: RequestView<'_>) -> Bucket {
        let sought = self.key_of.seek(head);
        let known = sought.find(&mut self.lock().buckets).cloned();
        known.unwrap_or_else(|| self.insert(sought.into_key()))
    }

    fn snapshot(&self) -> Option<ThrottleSnapshot> {
        Some(Self::snapshot(self))
    }

    fn rates(&self) -> Option<Vec<Rate>> {
        let template = self.lock().template.clone();
        Some(template.snapshot_rates())
    }

    fn set_rates(&self, rates: &[Rate]) -> Result<(), InvalidRates> {
        let template = self.lock().template.clone();
        for (limit, rates) in template.split(rates)? {
            self.change(Some(LimitId::from(&limit)), rates);
        }
        Ok(())
    }
}

/// The limit of every key. It is the limit of the template.
impl<K, F> From<&Keyed<K, F>> for LimitId {
    fn from(keyed: &Keyed<K, F>) -> Self {
        Self::from(&keyed.lock().template)
    }
}

impl<K, F: Clone> Clone for Keyed<K, F> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            key_of: self.key_of.clone(),
        }
    }
}

impl<K, F> fmt::Debug for Keyed<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys are not shown: they may be credentials.
        let keys = self.lock();
        f.debug_struct("Keyed")
            .field("len", &keys.buckets.len())
            .field("max", &keys.buckets.max())
            .field("template", &keys.template)
            .finish_non_exhaustive()
    }
}
