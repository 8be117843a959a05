use std::{
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use courteous_core::{InvalidCount, InvalidSettings, Origin, RequestView};
use courteous_limit::{ByWireOrigin, KeyOf, KeyedMap, Labels, Overflow, Sought, Wakes};

use crate::{
    limiter::{Limiter, WeakLimiter, at_least_one},
    partition::Partition,
    snapshot::LimitSnapshot,
};

/// A limiter for each key: for each host, or each credential.
///
/// A key's limiter is made when it is first needed. It may be forgotten once it has no calls, and
/// no other handle of it exists. With more than 64 keys, each new key looks at four others for a
/// limiter that can be forgotten. So memory is bounded by the keys in use and a third more, and by
/// [`with_max_keys`](Self::with_max_keys).
///
/// ```
/// use courteous_concurrency::{ConcurrencyLimitLayer, Keyed, Limiter};
///
/// let keyed = Keyed::per_origin(Limiter::new(6)?);
/// let layer = ConcurrencyLimitLayer::of(keyed.clone());
/// # drop(layer);
/// keyed.set_limit(12)?; // of every origin, from now on
/// assert_eq!((keyed.in_flight(), keyed.waiting()), (0, 0));
/// # Ok::<_, courteous_concurrency::InvalidCount>(())
/// ```
///
/// # Too many keys
///
/// A new key is never rejected because other keys are in use. If there is no room for it, it shares
/// one of 64 limiters of the same size with other new keys, until that limiter has no more calls.
/// So no key has more calls in flight than the limit says.
///
/// With a limiter for each origin, no group of hosts has more than a quarter of the limiters
/// (rounded up), and further names of a group share one limiter. So a server with many names leaves
/// room for other servers. Hosts are of one group if they share the last two labels of their names,
/// the first 24 bits of their IPv4 addresses, or the first 64 bits of their IPv6 addresses. Keys of
/// other kinds have no group.
///
/// # Sharing
///
/// Clones have the same limiters, in whatever stacks they are. The template's handles change only
/// the template: what is set there holds for new keys. [`set_limit`](Self::set_limit) holds for all
/// keys at once. The `Hash` and `Eq` of a key run under the lock of the keys: they must not make a
/// call themselves.
pub struct Keyed<K, F> {
    shared: Arc<Shared<K>>,
    key_of: F,
}

/// A limiter for each [origin that requests go to](RequestView::wire_origin).
pub type PerOrigin = Keyed<Origin, ByWireOrigin>;

struct Shared<K> {
    keys: Mutex<Keys<K>>,
    /// Held while the limit is changed, so that all keys end up with the same limit. It is not the
    /// lock of the keys, because it is held for long.
    changing: Mutex<()>,
}

struct Keys<K> {
    limiters: KeyedMap<K, Limiter>,
    /// The limiters of keys for which there was no room.
    shared: Overflow<Limiter>,
    template: Limiter,
    labels: Option<Labels<K>>,
}

impl PerOrigin {
    /// Gives every origin (scheme, host and port) a limiter like `template`.
    #[must_use]
    pub fn per_origin(template: Limiter) -> Self {
        let keyed = Self::of(KeyedMap::per_origin(), template, ByWireOrigin);
        keyed.with_labels(Labels::origins())
    }
}

impl<K: Eq + Hash, F: Fn(RequestView<'_>) -> K> Keyed<K, F> {
    /// Gives every key a limiter like `template`. The permits of the template itself are not used.
    /// `key_of` says which key a request has.
    #[must_use]
    pub fn new(template: Limiter, key_of: F) -> Self {
        Self::of(KeyedMap::new(), template, key_of)
    }
}

impl<K: Eq + Hash, F> Keyed<K, F> {
    /// Gives at most `max` keys their own limiter at a time. The default is 10,000. Each takes
    /// about 260 bytes and the size of the key. See [above](Self#too-many-keys) for further keys.
    ///
    /// At the maximum, a new key looks at up to 256 other keys for one without calls, and the next
    /// new key continues from there. With 10,000 keys, one of 40 calls finds an idle key, and until
    /// then that key counts as in use.
    #[must_use]
    pub fn with_max_keys(self, max: NonZeroUsize) -> Self {
        self.lock().limiters.set_max(max);
        self
    }

    /// Shows keys in snapshots as `labels` says. By default, only origins are shown, and no other
    /// keys, as they may be credentials.
    #[must_use]
    pub fn with_labels(self, labels: Labels<K>) -> Self {
        self.lock().labels = Some(labels);
        self
    }

    /// The limiter of `key`, if the key has its own.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Limiter> {
        self.lock().limiters.get(key).cloned()
    }

    /// How many keys have their own limiter. Some of these may be idle.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().limiters.len()
    }

    /// Whether no key has its own limiter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limiter of a key that was not known a moment ago.
    #[cold]
    fn insert(&self, key: K) -> Limiter {
        // Dropped without the lock, as dropping a key may run any code.
        let mut forgotten = Vec::new();
        let mut keys = self.lock();
        let known = keys.limiters.get(&key).cloned();
        let (limiter, unused) = match known {
            Some(known) => (known, Some(key)),
            None => keys.insert(key, &mut forgotten),
        };
        drop(keys);
        drop(unused);
        limiter
    }
}

impl<K, F> Keyed<K, F> {
    /// How many calls are in flight, for all keys. Like [`waiting`](Self::waiting), this takes one
    /// pass over the keys.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sum(|(in_flight, _)| in_flight)
    }

    /// How many calls wait to be admitted, for all keys.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sum(|(_, waiting)| waiting)
    }

    /// How many calls of one key may be in flight at a time.
    #[must_use]
    pub fn limit(&self) -> NonZeroUsize {
        self.lock().template.limit()
    }

    /// Changes the limit of every key from now on, as [`Limiter::set_limit`] does.
    ///
    /// # Errors
    ///
    /// If `limit` is 0. The limit is then as it was.
    pub fn set_limit(&self, limit: usize) -> Result<(), InvalidCount> {
        at_least_one(limit).map(|limit| self.resize(limit))
    }

    fn resize(&self, limit: NonZeroUsize) {
        let mut wakes = Wakes::new();
        let changing = self.shared.changing.lock();
        let changing = changing.unwrap_or_else(PoisonError::into_inner);
        let keys = self.lock();
        keys.template.set_limit_into(limit, &mut wakes);
        let limiters = keys.all();
        drop(keys);
        for limiter in limiters.iter().filter_map(WeakLimiter::upgrade) {
            limiter.set_limit_into(limit, &mut wakes);
        }
        drop(changing);
        // A waker may run any code, such as another change of the limit.
        wakes.wake();
    }

    /// What is in force now, for a health check or a support ticket. It includes the ten busiest
    /// keys.
    ///
    /// Takes one pass over all keys, with the lock of one key at a time: some 2 ms for 10,000.
    #[must_use]
    pub fn snapshot(&self) -> LimitSnapshot {
        let keys = self.lock();
        let (template, labels) = (keys.template.clone(), keys.labels);
        let len = keys.limiters.len();
        let limiters = keys.all();
        drop(keys);
        let mut snapshot = LimitSnapshot::new(template.limit().get());
        let shown = snapshot.add(len, limiters.iter().map(WeakLimiter::calls));
        let shown: Vec<_> = shown.iter().map(|&at| &limiters[at]).collect();
        // The keys of the shown limiters: they are cloned under the lock, and shown without it.
        let place = |limiter: &Limiter| shown.iter().position(|other| other.is(limiter));
        let keys = labels.map(|labels| self.lock().limiters.keys_of(place, labels.cloning()));
        snapshot.label(labels, keys.unwrap_or_default());
        snapshot
    }

    fn sum(&self, gauge: fn((usize, usize)) -> usize) -> usize {
        let limiters = self.lock().all();
        let calls = limiters.iter().map(WeakLimiter::calls);
        calls.map(gauge).sum()
    }

    fn of(limiters: KeyedMap<K, Limiter>, template: Limiter, key_of: F) -> Self {
        let keys = Mutex::new(Keys {
            limiters,
            shared: Overflow::new(),
            template,
            labels: None,
        });
        let changing = Mutex::new(());
        Self {
            shared: Arc::new(Shared { keys, changing }),
            key_of,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Keys<K>> {
        // Only a key's own `Hash`, `Eq` or `Clone` can panic under the lock, before anything is
        // changed.
        let keys = self.shared.keys.lock();
        keys.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Keys<K> {
    /// Returns weak handles. Strong handles would keep unused limiters from giving way to a new
    /// key.
    fn all(&self) -> Vec<WeakLimiter> {
        let limiters = self.limiters.values().chain(self.shared.values());
        limiters.map(Limiter::downgrade).collect()
    }
}

impl<K: Eq + Hash> Keys<K> {
    /// The limiter of a key that is not known. Also returns the key if there is no room for it.
    /// Forgotten limiters are left in `forgotten`.
    fn insert(&mut self, key: K, forgotten: &mut Vec<(K, Limiter)>) -> (Limiter, Option<K>) {
        let Self {
            limiters,
            shared,
            template,
            ..
        } = self;
        let place = limiters.place(&key);
        // While a limiter that the key may have shared has calls, some of them may be the key's.
        if let Some(shared) = shared.shared_by(place).find(|shared| !shared.is_spare()) {
            return (shared.clone(), Some(key));
        }
        let new = || Limiter::from(template.limit());
        match limiters.insert(place, key, Limiter::is_spare, new, forgotten) {
            Ok(limiter) => (limiter.clone(), None),
            Err(no_room) => {
                let shared = shared.get_or_insert(&no_room, Limiter::is_spare, new);
                (shared.clone(), Some(no_room.into_key()))
            }
        }
    }
}

impl<K, F> Partition for Keyed<K, F>
where
    K: Eq + Hash,
    F: KeyOf<K>,
{
    fn select(&self, head: RequestView<'_>) -> Limiter {
        let sought = self.key_of.seek(head);
        let known = sought.find(&mut self.lock().limiters).cloned();
        known.unwrap_or_else(|| self.insert(sought.into_key()))
    }

    fn snapshot(&self) -> Option<LimitSnapshot> {
        Some(Self::snapshot(self))
    }

    fn limit(&self) -> Option<NonZeroUsize> {
        Some(Self::limit(self))
    }

    fn set_limit(&self, limit: NonZeroUsize) -> Result<(), InvalidSettings> {
        self.resize(limit);
        Ok(())
    }

    fn load(&self) -> usize {
        self.sum(|(in_flight, waiting)| in_flight + waiting)
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
            .field("len", &keys.limiters.len())
            .field("max", &keys.limiters.max())
            .field("template", &keys.template)
            .finish_non_exhaustive()
    }
}
