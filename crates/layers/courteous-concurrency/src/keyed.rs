use std::{
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use courteous_core::{CallContext, InvalidCount, Origin};
use courteous_limit::Wakes;
use courteous_limit::{KeyedMap, Labels, Overflow};

use crate::{
    limiter::{Admission, Limiter, at_least_one},
    settings::Settings,
    snapshot::LimitSnapshot,
};

/// One [`Limiter`] for each key, created when the key is first seen.
///
/// A partition without calls may be forgotten. With more than 64 keys, each new key looks for such
/// partitions among four others. So memory is bounded by the keys in use and a third more, and
/// always by [`with_max_keys`](Self::with_max_keys).
///
/// # Too many keys
///
/// A new key is never rejected because other keys are in use. If there is no room for it, it shares
/// one of 64 limiters of the same size with other new keys, until that limiter has no more calls.
/// So no key has more calls in flight than the limit says.
///
/// In a layer for each origin, no group of hosts has more than a quarter of the partitions (rounded
/// up), and further names of a group share one limiter. So a server with many names leaves room for
/// other servers. Hosts are of one group if they share the last two labels of their names, the
/// first 24 bits of their IPv4 addresses, or the first 64 bits of their IPv6 addresses. Keys of
/// other kinds have no group.
///
/// # Sharing
///
/// A cheap handle: all clones are the same partitions, in whatever stacks they are. A key's `Hash`
/// and `Eq` run under the partitions' lock: they must not make a call themselves.
pub struct Limiters<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    partitions: Mutex<Partitions<K>>,
    /// Held while the limit is changed, so that all partitions end up with the same limit. It is
    /// not the partitions' lock, as it is held for long.
    resizing: Mutex<()>,
}

/// Calls enter a limiter only under the lock of this map, so that an idle limiter stays idle while
/// it is removed.
struct Partitions<K> {
    map: KeyedMap<K, Limiter>,
    /// For keys without room.
    shared: Overflow<Limiter>,
    limit: NonZeroUsize,
    labels: Option<Labels<K>>,
}

impl<K: Hash + Eq> Limiters<K> {
    /// Admits `limit` calls at a time for each key, with at most 10,000 keys. [`From`] takes a
    /// [`NonZeroUsize`].
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn new(limit: usize) -> Result<Self, InvalidCount> {
        at_least_one(limit).map(Self::from)
    }

    /// Sets how many keys there may be at a time, for all clones. The default is 10,000, at about
    /// 200 bytes each plus the key's own size.
    ///
    /// See [above](Self#too-many-keys) for further keys. At the maximum, a new key looks at up to
    /// 256 other keys for one without calls, and the next new key continues from there. With 10,000
    /// keys, one of 40 calls finds an idle key, and until then that key counts as in use.
    #[must_use]
    pub fn with_max_keys(self, max_keys: NonZeroUsize) -> Self {
        self.lock().map.set_max(max_keys);
        self
    }

    /// Shows keys in snapshots as `labels` says. By default, a layer for each origin shows its
    /// origins. No other keys are shown, as they may be credentials.
    #[must_use]
    pub fn with_labels(self, labels: Labels<K>) -> Self {
        self.lock().labels = Some(labels);
        self
    }

    /// How many calls are in flight, for all keys. Like the other sums, this takes one pass over
    /// the partitions.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sum(Limiter::in_flight)
    }

    /// How many calls wait to be admitted, for all keys.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sum(Limiter::waiting)
    }

    /// How many calls are in flight for `key`; zero if it shares a limiter with others.
    #[must_use]
    pub fn in_flight_of(&self, key: &K) -> usize {
        self.lock().map.get(key).map_or(0, Limiter::in_flight)
    }

    /// How many calls wait to be admitted for `key`; zero if it shares a limiter with others.
    #[must_use]
    pub fn waiting_of(&self, key: &K) -> usize {
        self.lock().map.get(key).map_or(0, Limiter::waiting)
    }

    /// How many keys have their own limiter. Some of these may be idle.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.lock().map.len()
    }

    #[cfg(feature = "load")]
    pub(crate) fn load(&self) -> usize {
        self.sum(Limiter::load)
    }

    pub(crate) fn admit(
        &self,
        key: K,
        context: Option<&CallContext>,
        settings: &Settings,
    ) -> Admission {
        let mut partitions = self.lock();
        let known = partitions.map.get(&key);
        if let Some(limiter) = known
            && let Some(permit) = limiter.try_admit(context, settings)
        {
            return Admission::Now(permit);
        }
        // Woken and dropped without the lock, as wakers and keys may run any code.
        let mut wakes = Wakes::new();
        let mut forgotten = Vec::new();
        let (admission, unused) = match known {
            Some(limiter) => {
                let admission = limiter.admit_or_wait(context, settings, &mut wakes);
                (admission, Some(key))
            }
            None => {
                let (limiter, unused) = partitions.limiter(key, &mut forgotten);
                let admission = match limiter.try_admit(context, settings) {
                    Some(permit) => Admission::Now(permit),
                    None => limiter.admit_or_wait(context, settings, &mut wakes),
                };
                (admission, unused)
            }
        };
        drop(partitions);
        drop(unused);
        wakes.wake();
        admission
    }

    fn sum(&self, gauge: fn(&Limiter) -> usize) -> usize {
        self.lock().limiters().map(gauge).sum()
    }
}

impl<K> Limiters<K> {
    /// How many calls of one key may be in flight at a time.
    #[must_use]
    pub fn limit(&self) -> NonZeroUsize {
        self.lock().limit
    }

    /// Changes the limit of every key from now on, as [`Limiter::set_limit`] does.
    ///
    /// # Errors
    ///
    /// If `limit` is 0. The limit is then as it was.
    pub fn set_limit(&self, limit: usize) -> Result<(), InvalidCount> {
        at_least_one(limit).map(|limit| self.resize(limit))
    }

    pub(crate) fn resize(&self, limit: NonZeroUsize) {
        let mut wakes = Wakes::new();
        let resizing = (self.shared.resizing.lock()).unwrap_or_else(PoisonError::into_inner);
        let mut partitions = self.lock();
        partitions.limit = limit;
        let limiters = partitions.all();
        drop(partitions);
        for limiter in &limiters {
            limiter.set_limit_into(limit, &mut wakes);
        }
        drop(resizing);
        // A waker may run any code, such as another change of the limit.
        wakes.wake();
    }

    /// What is in force now, for a health check or a support ticket. It includes the ten busiest
    /// keys.
    ///
    /// Takes one pass over all keys, with the lock of one key at a time: some 2 ms for 10,000.
    #[must_use]
    pub fn snapshot(&self) -> LimitSnapshot {
        let partitions = self.lock();
        let mut snapshot = LimitSnapshot::new(partitions.limit.get());
        let labels = partitions.labels;
        let len = partitions.map.len();
        let limiters = partitions.all();
        drop(partitions);
        let shown = snapshot.add(len, limiters.iter().map(Limiter::calls));
        let shown: Vec<_> = shown.iter().map(|&at| &limiters[at]).collect();
        // The keys of these limiters: cloned under the lock, and shown without it.
        let place = |limiter: &Limiter| shown.iter().position(|other| other.is(limiter));
        let keys = labels.map(|labels| self.lock().map.keys_of(place, labels.cloning()));
        snapshot.label(labels, keys.unwrap_or_default());
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Partitions<K>> {
        // Only a key's own `Hash`, `Eq` or `Clone` can panic under the lock, before anything is
        // changed.
        (self.shared.partitions.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Partitions<K> {
    /// Returns the limiter of an unknown key, and gives back the key if there is no room for it.
    /// Forgotten partitions are left in `forgotten`.
    #[cold]
    fn limiter(&mut self, key: K, forgotten: &mut Vec<(K, Limiter)>) -> (Limiter, Option<K>) {
        let Self {
            map, shared, limit, ..
        } = self;
        let place = map.place(&key);
        // While a limiter that the key may have shared has calls, some of them may be the key's.
        if let Some(shared) = shared.shared_by(place).find(|shared| !shared.is_idle()) {
            return (shared.clone(), Some(key));
        }
        let new = || Limiter::from(*limit);
        match map.insert(place, key, Limiter::is_idle, new, forgotten) {
            Ok(limiter) => (limiter.clone(), None),
            Err(no_room) => {
                let shared = shared.get_or_insert(&no_room, Limiter::is_idle, new);
                (shared.clone(), Some(no_room.into_key()))
            }
        }
    }
}

impl<K> Partitions<K> {
    fn all(&self) -> Vec<Limiter> {
        self.limiters().cloned().collect()
    }

    fn limiters(&self) -> impl Iterator<Item = &Limiter> {
        self.map.values().chain(self.shared.values())
    }
}

impl Limiters<Origin> {
    /// From now on, allows no group of hosts more than a quarter of the partitions, and shows
    /// origins in snapshots.
    pub(crate) fn are_for_origins(&self) {
        let mut partitions = self.lock();
        partitions.map.group_by_host();
        partitions.labels.get_or_insert(Labels::origins());
    }
}

impl<K: Hash + Eq> From<NonZeroUsize> for Limiters<K> {
    fn from(limit: NonZeroUsize) -> Self {
        let partitions = Mutex::new(Partitions {
            map: KeyedMap::new(),
            shared: Overflow::new(),
            limit,
            labels: None,
        });
        Self {
            shared: Arc::new(Shared {
                partitions,
                resizing: Mutex::new(()),
            }),
        }
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
        let partitions = self.lock();
        f.debug_struct("Limiters")
            .field("limit", &partitions.limit)
            .field("max_keys", &partitions.map.max())
            .field("keys", &partitions.map.len())
            .finish_non_exhaustive()
    }
}
