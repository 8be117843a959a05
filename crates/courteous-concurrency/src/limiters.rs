use std::{
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use courteous_core::KeyedMap;
use courteous_queue::Wakes;
use http::Extensions;

use crate::{
    limiter::{Admission, Limiter},
    options::Options,
};

/// One [`Limiter`] for each key, made when the key is first seen.
///
/// A partition without calls may be forgotten. With more than 64 keys, each new one looks at four
/// others for that: so memory is bounded by the keys in use, and a third more, and by
/// [`with_max_keys`](Self::with_max_keys) in any case.
///
/// # Sharing
///
/// A cheap handle: all clones are the same partitions, in whatever stacks they are.
pub struct Limiters<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    partitions: Mutex<Partitions<K>>,
    /// Held while the limit is changed, so that all partitions end up with the same one. Not
    /// the lock of the partitions, as it is held for long.
    resizing: Mutex<()>,
}

/// Calls enter a limiter under the lock of this map only, so that an idle one stays idle while it
/// is removed.
struct Partitions<K> {
    map: KeyedMap<K, Limiter>,
    limit: NonZeroUsize,
}

impl<K: Hash + Eq> Limiters<K> {
    /// For each key, as many calls at a time as `limit`, and at most 10,000 keys.
    #[must_use]
    pub fn new(limit: NonZeroUsize) -> Self {
        let partitions = Mutex::new(Partitions {
            map: KeyedMap::new(),
            limit,
        });
        Self {
            shared: Arc::new(Shared {
                partitions,
                resizing: Mutex::new(()),
            }),
        }
    }

    /// Sets how many keys there may be at a time, for all clones. The default is 10,000, at
    /// about 200 bytes each and the key's own.
    ///
    /// A call with one more key is refused with [`RejectReason::TooManyKeys`] while all the others
    /// have calls in flight or waiting. At the maximum, a new key looks at up to 256 others for one
    /// without calls, and the next new key goes on from there: of 10,000, an idle one is found by
    /// one of 40 calls, and counts as in use until then.
    ///
    /// [`RejectReason::TooManyKeys`]: courteous_core::RejectReason::TooManyKeys
    #[must_use]
    pub fn with_max_keys(self, max_keys: NonZeroUsize) -> Self {
        self.lock().map.set_max(max_keys);
        self
    }

    /// How many calls are in flight, for all keys. Takes one pass over the partitions, as do the
    /// other sums.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sum(Limiter::in_flight)
    }

    /// How many calls wait to be admitted, for all keys.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sum(Limiter::waiting)
    }

    /// How many calls are in flight for `key`.
    #[must_use]
    pub fn in_flight_of(&self, key: &K) -> usize {
        self.lock().map.get(key).map_or(0, Limiter::in_flight)
    }

    /// How many calls wait to be admitted for `key`.
    #[must_use]
    pub fn waiting_of(&self, key: &K) -> usize {
        self.lock().map.get(key).map_or(0, Limiter::waiting)
    }

    /// How many keys there are, some of them idle perhaps.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.lock().map.len()
    }

    /// How many calls of one key may be in flight at a time.
    #[must_use]
    pub fn limit(&self) -> NonZeroUsize {
        self.lock().limit
    }

    /// Changes the limit of every key from now on, as [`Limiter::set_limit`] does.
    pub fn set_limit(&self, limit: NonZeroUsize) {
        let mut wakes = Wakes::new();
        let resizing = (self.shared.resizing.lock()).unwrap_or_else(PoisonError::into_inner);
        let mut partitions = self.lock();
        partitions.limit = limit;
        let limiters: Vec<_> = partitions.map.values().cloned().collect();
        drop(partitions);
        for limiter in &limiters {
            limiter.set_limit_into(limit, &mut wakes);
        }
        drop(resizing);
        // A waker may run any code, such as another change of the limit.
        wakes.wake();
    }

    #[cfg(feature = "load")]
    pub(crate) fn load(&self) -> usize {
        self.sum(Limiter::load)
    }

    pub(crate) fn admit(&self, key: K, extensions: &Extensions, options: &Options) -> Admission {
        let Partitions { map, limit } = &mut *self.lock();
        map.get_or_insert(key, Limiter::is_idle, |_| Limiter::new(*limit))
            .map_or_else(Admission::Refused, |limiter| {
                limiter.admit(extensions, options)
            })
    }

    fn sum(&self, gauge: fn(&Limiter) -> usize) -> usize {
        self.lock().map.values().map(gauge).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Partitions<K>> {
        // Only a key's own `Hash` or `Eq` can panic under the lock, before anything is changed.
        (self.shared.partitions.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> From<NonZeroUsize> for Limiters<K> {
    fn from(limit: NonZeroUsize) -> Self {
        Self::new(limit)
    }
}

impl<K> Clone for Limiters<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K> fmt::Debug for Limiters<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions = self.shared.partitions.lock();
        let partitions = partitions.unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Limiters")
            .field("limit", &partitions.limit)
            .field("max_keys", &partitions.map.max())
            .field("keys", &partitions.map.len())
            .finish_non_exhaustive()
    }
}
