use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use courteous_core::{Origin, RejectReason, Rejected, RequestView};
use tokio::time::Instant;

use crate::{Bucket, Partition, Rate, levels::later};

/// How many keys there may be, if nobody says.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// Below this many keys, none is looked for that can go.
const FEW: usize = 64;
/// What looking at one key is taken to cost; all keys are not looked at more often than that allows.
const LOOK: Duration = Duration::from_micros(1);

/// A bucket for each key: for each host, or each credential.
///
/// A key's bucket is made when it is first needed, and forgotten once it would do the same as a new one: it is full, open,
/// at the template's rates, and nobody has it. So memory is bounded by the keys in use and by [`with_max_keys`](Self::with_max_keys),
/// and no debt is ever forgotten.
///
/// # Sharing
///
/// Its clones have the same buckets.
pub struct Keyed<K, F> {
    keys: Arc<Mutex<Keys<K>>>,
    /// Held while the rate is changed, so that all keys end up with the same one. Waiters are woken under it, so it is not
    /// the lock of the keys.
    changing: Arc<Mutex<()>>,
    key_of: F,
}

/// A bucket for each [`Origin`].
pub type PerOrigin = Keyed<Origin, fn(RequestView<'_>) -> Origin>;

struct Keys<K> {
    buckets: HashMap<K, Bucket>,
    template: Bucket,
    start_empty: bool,
    max: usize,
    /// The number of keys at which to look for those that can go.
    look_at: usize,
    looked: Option<Instant>,
}

impl PerOrigin {
    /// Gives every origin a bucket like `template`.
    #[must_use]
    pub fn per_origin(template: Bucket) -> Self {
        Self::new(template, |head| head.origin())
    }
}

impl<K: Eq + Hash, F: Fn(RequestView<'_>) -> K> Keyed<K, F> {
    /// Gives every key a bucket like `template`, whose tokens themselves are not used. `key_of` says which key a request
    /// has.
    ///
    /// The default for the number of keys is 10,000, at about 400 bytes each.
    #[must_use]
    pub fn new(template: Bucket, key_of: F) -> Self {
        Self {
            keys: Arc::new(Mutex::new(Keys {
                buckets: HashMap::new(),
                template,
                start_empty: false,
                max: MAX_KEYS.get(),
                look_at: FEW,
                looked: None,
            })),
            changing: Arc::default(),
            key_of,
        }
    }
}

impl<K: Eq + Hash, F> Keyed<K, F> {
    /// Refuses a request with a new key while `max` keys are in use.
    ///
    /// At the maximum, new keys cost a pass over all of them, but no more than one in as many microseconds as there are
    /// keys (10 ms for 10,000): until then, one that could be forgotten may still count as in use.
    #[must_use]
    pub fn with_max_keys(self, max: NonZeroUsize) -> Self {
        self.lock().max = max.get();
        self
    }

    /// Gives every new key an empty bucket instead of a full one.
    #[must_use]
    pub fn start_empty(self) -> Self {
        self.lock().start_empty = true;
        self
    }

    /// Goes on at `rate`, for every key: see [`Bucket::set_rate`].
    pub fn set_rate(&self, rate: Rate) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.lock();
        keys.template.set_rate(rate);
        let buckets: Vec<_> = keys.buckets.values().cloned().collect();
        drop(keys);
        buckets.iter().for_each(|bucket| bucket.set_rate(rate));
    }

    /// The bucket of `key`, if it has one.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Bucket> {
        self.lock().buckets.get(key).cloned()
    }

    /// How many keys have a bucket.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().buckets.len()
    }

    /// Whether no key has a bucket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, F> Keyed<K, F> {
    fn lock(&self) -> MutexGuard<'_, Keys<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Keys<K> {
    fn bucket(&mut self, key: K) -> Result<Bucket, Rejected> {
        if let Some(bucket) = self.buckets.get(&key) {
            return Ok(bucket.clone());
        }
        let now = Instant::now();
        if self.buckets.len() >= self.look_at.min(self.max) {
            self.forget_spare(now);
        }
        if self.buckets.len() >= self.max {
            return Err(Rejected::new(RejectReason::TooManyKeys));
        }
        let bucket = self.template.fresh(self.start_empty, now);
        self.buckets.insert(key, bucket.clone());
        Ok(bucket)
    }

    /// Forgets the buckets that are as good as new ones: all at once, whenever the number of keys has doubled, and when
    /// there are too many, as often as that costs little.
    fn forget_spare(&mut self, now: Instant) {
        let pause = LOOK.saturating_mul(u32::try_from(self.buckets.len()).unwrap_or(u32::MAX));
        if self.buckets.len() < self.look_at
            && self.looked.is_some_and(|looked| now < later(looked, pause))
        {
            return;
        }
        self.looked = Some(now);
        let rates = self.template.rates();
        self.buckets
            .retain(|_, bucket| !bucket.is_spare(&rates, now));
        self.look_at = self.buckets.len().saturating_mul(2).max(FEW);
        self.buckets.shrink_to(self.look_at);
    }
}

impl<K, F> Partition for Keyed<K, F>
where
    K: Eq + Hash,
    F: Fn(RequestView<'_>) -> K,
{
    type Store = Bucket;

    fn select(&self, head: RequestView<'_>) -> Result<Bucket, Rejected> {
        let key = (self.key_of)(head);
        self.lock().bucket(key)
    }
}

impl<K, F: Clone> Clone for Keyed<K, F> {
    fn clone(&self) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
            changing: Arc::clone(&self.changing),
            key_of: self.key_of.clone(),
        }
    }
}

impl<K, F> fmt::Debug for Keyed<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the keys: they may be credentials.
        let keys = self.lock();
        f.debug_struct("Keyed")
            .field("len", &keys.buckets.len())
            .field("max", &keys.max)
            .field("template", &keys.template)
            .finish_non_exhaustive()
    }
}
