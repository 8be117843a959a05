use std::{
    cell::LazyCell,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use courteous_core::{KeyedMap, Origin, Rejected, RequestView};
use courteous_queue::Wakes;
use tokio::time::Instant;

use crate::{Bucket, Partition, Rate};

/// A bucket for each key: for each host, or each credential.
///
/// A key's bucket is made when it is first needed, and may be forgotten once it would do the same as a new one: it is full,
/// open, at the template's rates, and nobody has it. With more than 64 keys, each new one looks at four others for that: so
/// memory is bounded by the keys in use, and a third more, and by [`with_max_keys`](Self::with_max_keys), and no debt is ever
/// forgotten.
///
/// # Sharing
///
/// Its clones have the same buckets.
pub struct Keyed<K, F> {
    shared: Arc<Shared<K>>,
    key_of: F,
}

/// A bucket for each [`Origin`].
pub type PerOrigin = Keyed<Origin, fn(RequestView<'_>) -> Origin>;

struct Shared<K> {
    keys: Mutex<Keys<K>>,
    /// Held while the rate is changed, so that all keys end up with the same one. Not the lock of the keys, as it is held for
    /// long.
    changing: Mutex<()>,
}

struct Keys<K> {
    buckets: KeyedMap<K, Bucket>,
    template: Bucket,
    start_empty: bool,
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
    /// The default for the number of keys is 10,000, at about 100 bytes each and the key's own.
    #[must_use]
    pub fn new(template: Bucket, key_of: F) -> Self {
        let keys = Mutex::new(Keys {
            buckets: KeyedMap::new(),
            template,
            start_empty: false,
        });
        let changing = Mutex::new(());
        Self {
            shared: Arc::new(Shared { keys, changing }),
            key_of,
        }
    }
}

impl<K: Eq + Hash, F> Keyed<K, F> {
    /// Refuses a request with a new key while `max` keys are in use.
    ///
    /// At the maximum, a new key looks at up to 256 others for one that can be forgotten, and the next new key goes on from
    /// there: of 10,000, such a one is found by one of 40 calls, and counts as in use until then.
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

    /// Goes on at `rate`, for every key: see [`Bucket::set_rate`].
    pub fn set_rate(&self, rate: Rate) {
        let mut wakes = Wakes::new();
        let changing = self.shared.changing.lock();
        let changing = changing.unwrap_or_else(PoisonError::into_inner);
        let keys = self.lock();
        keys.template.set_rate(rate);
        let buckets: Vec<_> = keys.buckets.values().cloned().collect();
        drop(keys);
        for bucket in &buckets {
            bucket.set_rate_into(rate, &mut wakes);
        }
        drop(changing);
        // A waker may run any code, such as another change of the rate.
        wakes.wake();
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
        let keys = self.shared.keys.lock();
        keys.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Keys<K> {
    fn bucket(&mut self, key: K) -> Result<Bucket, Rejected> {
        let Self {
            buckets,
            template,
            start_empty,
        } = self;
        // For a new key only.
        let now = LazyCell::new(Instant::now);
        let rates = LazyCell::new(|| template.rates());
        buckets
            .get_or_insert(
                key,
                |bucket| bucket.is_spare(&rates, *now),
                |_| template.fresh(*start_empty, *now),
            )
            .cloned()
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
            shared: Arc::clone(&self.shared),
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
            .field("max", &keys.buckets.max())
            .field("template", &keys.template)
            .finish_non_exhaustive()
    }
}
