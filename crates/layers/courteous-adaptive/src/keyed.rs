use std::{
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use courteous_core::{Origin, RequestView};
use courteous_limit::{Busiest, ByWireOrigin, KeyOf, KeyedMap, Labels, Overflow, Sought};

use crate::{
    limiter::AdaptiveLimiter,
    partition::Partition,
    snapshot::{AdaptiveSnapshot, LearnedSnapshot},
};

/// An [`AdaptiveLimiter`] for each key, created when the key is first seen.
///
/// A limiter without calls for a minute may be forgotten. At most 10,000 keys have a limiter of
/// their own ([`with_max_keys`](Self::with_max_keys)). A new key for which there is no room shares
/// one of 64 limiters with other such keys; no key is ever rejected because other keys are in use.
/// For origins, no group of hosts has more than a quarter of the limiters: hosts are of one group if
/// they share the last two labels of their names, or their network.
///
/// # Sharing
///
/// A cheap handle: all clones are the same limiters. A key's `Hash` and `Eq` run under the lock of
/// the keys: they must not make a call themselves. The key function runs without it.
pub struct Keyed<K, F> {
    shared: Arc<Shared<K>>,
    key_of: F,
}

/// A limiter for each [origin that requests go to](RequestView::wire_origin): scheme, host and port.
pub type PerOrigin = Keyed<Origin, ByWireOrigin>;

struct Shared<K> {
    limiters: Mutex<Limiters<K>>,
}

struct Limiters<K> {
    map: KeyedMap<K, AdaptiveLimiter>,
    /// For keys without room.
    overflow: Overflow<AdaptiveLimiter>,
    /// What each new one is like.
    template: AdaptiveLimiter,
    labels: Option<Labels<K>>,
}

impl PerOrigin {
    /// A limiter like `template` for each origin.
    #[must_use]
    pub fn per_origin(template: AdaptiveLimiter) -> Self {
        let keyed = Self::of(KeyedMap::per_origin(), template, ByWireOrigin);
        keyed.with_labels(Labels::origins())
    }
}

impl<K: Eq + Hash, F> Keyed<K, F> {
    /// A limiter like `template` for each key. `key_of` says which key a request has.
    #[must_use]
    pub fn new(template: AdaptiveLimiter, key_of: F) -> Self
    where
        F: Fn(RequestView<'_>) -> K,
    {
        Self::of(KeyedMap::new(), template, key_of)
    }

    /// Sets how many keys may have a limiter of their own, for all clones. The default is 10,000.
    #[must_use]
    pub fn with_max_keys(self, max_keys: NonZeroUsize) -> Self {
        self.lock().map.set_max(max_keys);
        self
    }

    /// Shows keys in snapshots as `labels` says. By default only origins are shown, as other keys may
    /// be credentials.
    #[must_use]
    pub fn with_labels(self, labels: Labels<K>) -> Self {
        self.lock().labels = Some(labels);
        self
    }

    /// The limiter of `key`, if it has one of its own.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<AdaptiveLimiter> {
        self.lock().map.get(key).cloned()
    }

    /// The limiter of a key that was not known a moment ago.
    #[cold]
    fn insert(&self, key: K) -> AdaptiveLimiter {
        // Dropped without the lock, as keys may run any code.
        let mut forgotten = Vec::new();
        let mut limiters = self.lock();
        let known = limiters.map.get(&key).cloned();
        let (limiter, unused) = match known {
            Some(known) => (known, Some(key)),
            None => limiters.add(key, &mut forgotten),
        };
        drop(limiters);
        drop(unused);
        limiter
    }

    /// How many keys have a limiter of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().map.len()
    }

    /// Whether no key has a limiter of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, F> Keyed<K, F> {
    fn of(map: KeyedMap<K, AdaptiveLimiter>, template: AdaptiveLimiter, key_of: F) -> Self {
        let limiters = Mutex::new(Limiters {
            map,
            overflow: Overflow::new(),
            template,
            labels: None,
        });
        Self {
            shared: Arc::new(Shared { limiters }),
            key_of,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Limiters<K>> {
        // Only a key's own `Hash`, `Eq` or `Clone` can panic under the lock, before anything is
        // changed.
        (self.shared.limiters.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Limiters<K> {
    /// The limiter of a key that is not known, and the key itself if there is no room for it.
    fn add(
        &mut self,
        key: K,
        forgotten: &mut Vec<(K, AdaptiveLimiter)>,
    ) -> (AdaptiveLimiter, Option<K>) {
        let Self {
            map,
            overflow,
            template,
            ..
        } = self;
        let place = map.place(&key);
        // While a limiter that the key may have shared has calls, some of them may be the key's.
        if let Some(shared) = overflow.shared_by(place).find(|shared| shared.is_in_use()) {
            return (shared.clone(), Some(key));
        }
        let is_idle = |limiter: &AdaptiveLimiter| !limiter.is_in_use();
        match map.insert(place, key, is_idle, || template.like(), forgotten) {
            Ok(limiter) => (limiter.clone(), None),
            Err(no_room) => {
                let shared = overflow.get_or_insert(&no_room, is_idle, || template.like());
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
    fn select(&self, head: RequestView<'_>) -> AdaptiveLimiter {
        let sought = self.key_of.seek(head);
        let known = sought.find(&mut self.lock().map).cloned();
        known.unwrap_or_else(|| self.insert(sought.into_key()))
    }

    /// Takes one pass over all keys, with the lock of one limiter at a time.
    fn snapshot(&self) -> Option<AdaptiveSnapshot> {
        let limiters = self.lock();
        let labels = limiters.labels;
        let (own, shared) = (limiters.map.values(), limiters.overflow.values());
        let all: Vec<_> = own.chain(shared).cloned().collect();
        let mut snapshot = AdaptiveSnapshot {
            keys: Some(limiters.map.len()),
            ..AdaptiveSnapshot::default()
        };
        drop(limiters);
        let mut busiest = Busiest::new(AdaptiveSnapshot::MAX_LIMITS);
        for limiter in &all {
            let (learned, rejected) = limiter.learned();
            snapshot.in_flight += learned.in_flight;
            snapshot.waiting += learned.waiting;
            snapshot.rejected += rejected;
            // The lower the limit, the greater: in thousandths, as a float has no order.
            let limit = (learned.limit * 1e3) as u64;
            busiest.add((learned.waiting, std::cmp::Reverse(limit)), learned);
        }
        let (places, shown): (Vec<usize>, Vec<LearnedSnapshot>) = busiest.into_iter().unzip();
        snapshot.limits = shown;
        if let Some(labels) = labels {
            let place =
                |limiter: &AdaptiveLimiter| places.iter().position(|&at| all[at].is(limiter));
            // The keys are cloned under the lock, and shown without it.
            let keys = self.lock().map.keys_of(place, labels.cloning());
            for (at, key) in keys {
                snapshot.limits[at].key = Some(labels.of(&key));
            }
        }
        Some(snapshot)
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
        let limiters = self.lock();
        f.debug_struct("Keyed")
            .field("template", &limiters.template)
            .finish_non_exhaustive()
    }
}
