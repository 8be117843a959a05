use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use courteous_core::{RejectReason, Rejected};
use http::Extensions;

use crate::{
    limiter::{Admission, Limiter},
    options::Options,
};

/// Fewer partitions than this are never looked through for idle ones.
const FEW: usize = 64;

/// One [`Limiter`] for each key, made when the key is first seen.
///
/// A partition without calls is forgotten some time after: whenever the number of partitions has
/// doubled, and before a new key is refused. So memory is bounded by twice the most keys that were
/// in use at a time (or 64), and by [`with_max_keys`](Self::with_max_keys) in any case.
///
/// # Sharing
///
/// A cheap handle: all clones are the same partitions, in whatever stacks they are.
pub struct Limiters<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    partitions: Mutex<Partitions<K>>,
    /// Raised by each partition that has no permit out any more: without it, a look for idle
    /// partitions finds nothing.
    went_idle: Arc<AtomicBool>,
    /// Held while the limit is changed, so that all partitions end up with the same one. Waiters
    /// are woken under it, so it is not the lock of the partitions.
    resizing: Mutex<()>,
}

/// Calls enter a limiter under the lock of this map only, so that an idle one stays idle while it
/// is removed.
struct Partitions<K> {
    map: HashMap<K, Limiter>,
    limit: NonZeroUsize,
    max_keys: NonZeroUsize,
    /// With how many partitions to look for idle ones next.
    look_at: usize,
}

impl<K: Hash + Eq> Limiters<K> {
    /// For each key, as many calls at a time as `limit`, and at most 10,000 keys.
    #[must_use]
    pub fn new(limit: NonZeroUsize) -> Self {
        let partitions = Mutex::new(Partitions {
            map: HashMap::new(),
            limit,
            max_keys: const { NonZeroUsize::new(10_000).unwrap() },
            look_at: FEW,
        });
        let went_idle = Arc::default();
        Self {
            shared: Arc::new(Shared {
                partitions,
                went_idle,
                resizing: Mutex::new(()),
            }),
        }
    }

    /// Sets how many keys there may be at a time, for all clones. The default is 10,000, about 4
    /// MB.
    ///
    /// A call with one more key is refused with [`RejectReason::TooManyKeys`] while all the others
    /// have calls in flight or waiting. At the maximum, a new key costs a pass over all of them, if
    /// any went idle since the last one.
    #[must_use]
    pub fn with_max_keys(self, max_keys: NonZeroUsize) -> Self {
        self.lock().max_keys = max_keys;
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
        let _resizing = (self.shared.resizing.lock()).unwrap_or_else(PoisonError::into_inner);
        let mut partitions = self.lock();
        partitions.limit = limit;
        let limiters: Vec<_> = partitions.map.values().cloned().collect();
        drop(partitions);
        for limiter in limiters {
            limiter.set_limit(limit);
        }
    }

    #[cfg(feature = "load")]
    pub(crate) fn load(&self) -> usize {
        self.sum(Limiter::load)
    }

    pub(crate) fn admit(&self, key: K, extensions: &Extensions, options: &Options) -> Admission {
        let mut partitions = self.lock();
        if let Some(limiter) = partitions.map.get(&key) {
            return limiter.admit(extensions, options);
        }
        if !self.make_room(&mut partitions) {
            return Admission::Refused(Rejected::new(RejectReason::TooManyKeys));
        }
        let signal = Some(Arc::clone(&self.shared.went_idle));
        let limiter = Limiter::with_signal(partitions.limit, signal);
        let admission = limiter.admit(extensions, options);
        partitions.map.insert(key, limiter);
        admission
    }

    /// Forgets idle partitions if there are many; says whether there is room for another one.
    fn make_room(&self, partitions: &mut Partitions<K>) -> bool {
        let Partitions {
            map,
            max_keys,
            look_at,
            ..
        } = partitions;
        let max_keys = max_keys.get();
        let many = map.len() >= max_keys.min(*look_at);
        // Lowered before the look: whoever goes idle while it lasts raises it again.
        if many && self.shared.went_idle.swap(false, Ordering::AcqRel) {
            map.retain(|_, limiter| !limiter.is_idle());
            *look_at = FEW.max(map.len() * 2);
            map.shrink_to(*look_at);
        }
        map.len() < max_keys
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
            .field("max_keys", &partitions.max_keys)
            .field("keys", &partitions.map.len())
            .finish_non_exhaustive()
    }
}
