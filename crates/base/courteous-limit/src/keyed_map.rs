//! What a limit keeps for each of its keys, in bounded memory.
//!
//! ```text
//!              there is room                     a new value would do the same
//! a new key ------------------> kept, in use <-----------------------------------> spare
//!     |                           ^                      it is used again            |
//!     | there is none             |                                        looked at |
//!     v                           |                                                  v
//! the caller's overflow           +---------- the key comes again, as new --------- forgotten
//! ```
//!
//! The invariant: what is not spare is never forgotten, and there are at most `max` keys, and at
//! most a quarter of `max` (rounded up) of one group. Each key is kept under its own hash, and what
//! is found is compared with what is looked up. So a hash that belongs to another key, as a call
//! carries it after its URI was changed, finds nothing: then the right one is made.
//!
//! An example: a throttle keeps buckets for 1,000 credentials, and 600 of them are in use. The
//! other 400 buckets are full again, so they are spare. A new key looks at four entries, and 1.6
//! of these are spare on average: more are forgotten than come. At 800 keys, 200 of them spare, a
//! look at four finds one: as many are forgotten as come. So about a quarter of the keys are spare
//! in the long run, whatever their number is. At `max`, 10,000 by default, a new key looks at up
//! to 256 entries until one is spare. If none is, it finds no room.
//!
//! Why: to forget the *oldest* key would let an outsider with many names wipe out the debts of all
//! others. To look at all keys at once would hold the lock for milliseconds.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroUsize,
};

use courteous_core::{Origin, OriginHash, OriginKey};

use crate::table::{NIL, Table};

/// How many keys there may be, by default.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// Below this many keys, none is forgotten to save memory.
const FEW: usize = 64;
/// At how many keys each new one looks.
const LOOKS: usize = 4;
/// At how many it looks at the most, if there may be no more keys.
const MOST_LOOKS: usize = 256;
/// The part of all keys that one group may have.
const GROUP_PART: usize = 4;
/// The group of keys that have none.
pub(crate) const NO_GROUP: u32 = 0;

/// What a limit keeps for each of its keys, as long as it is worth keeping.
///
/// A value may be forgotten once it is *spare*: a new one would do the same. Which values are spare is asked of some of them
/// with each new key, and never with a known one:
///
/// - A new key looks at four others, going round all of them, and forgets those that are spare. So, soon, only about
///   a quarter of the keys are spare, however many new ones come. With fewer than 64 keys, none is forgotten unless it has to
///   be.
/// - At the [maximum](Self::set_max) it looks at up to 256, until one is spare, and finds no room if none is. Of up to 256
///   keys, it misses none. Of more, a spare one is found by one of the next *keys / 256* calls with a new key, as each goes
///   on where the one before it ended.
///
/// What is not spare is never forgotten to make room: else an outsider with many names could have the state of others
/// forgotten. A key that finds no room is left to the caller, which must not fail because of it: see
/// [`Overflow`](crate::Overflow).
///
/// # Groups
///
/// In a map [for each origin](Self::per_origin), no group of hosts has more than a quarter of the keys (rounded up), so that a
/// server with many names leaves room for others. Hosts are of one group if the last two labels of their names are the same,
/// the first 24 bits of their IPv4 addresses, or the first 64 bits of their IPv6 addresses. Keys of other kinds have no
/// group.
///
/// # Steps
///
/// No step takes longer because there are many keys: there is no moment at which all are looked at, moved, or given back to
/// the allocator. The memory of forgotten keys is given back.
///
/// # Hashes
///
/// Keys are hashed with random state of this map's, as they may come from outsiders. Origins in a map [for each
/// origin](Self::per_origin) have the [hash](OriginHash) that a call carries from one such map to the next. The key of the
/// call before is only compared.
///
/// ```
/// use courteous_core::RequestView;
/// use courteous_limit::KeyedMap;
/// use http::Request;
///
/// let mut calls = KeyedMap::per_origin();
/// let request = Request::get("https://api.example/a").body(())?;
/// let origin = RequestView::of(&request).origin();
/// let place = calls.place(&origin);
/// // No value is spare here, so none is forgotten.
/// let inserted = calls.insert(place, origin, |_: &u32| false, || 1, &mut Vec::new());
/// assert!(inserted.is_ok());
///
/// // Another spelling, which is looked up as the request has it.
/// let request = Request::get("https://API.example.:443/b").body(())?;
/// let known = calls.get_origin(&RequestView::of(&request).origin_key());
/// assert_eq!(known, Some(&1));
/// # Ok::<_, http::Error>(())
/// ```
pub struct KeyedMap<K, V> {
    keys: Table<K, Grouped<V>>,
    /// How many keys each group has, by its hash. Two groups with one hash are one group: outsiders cannot bring that about.
    groups: Table<(), usize>,
    /// What hashes an origin, and its group. `None`: the keys are hashed with `state`, and have no group.
    origins: Option<Origins<K>>,
    state: RandomState,
    max: NonZeroUsize,
    /// The entry that was looked at last.
    hand: u32,
    /// The entry that was found last, if it is still there.
    recent: u32,
}

struct Origins<K> {
    hash: fn(&K) -> u32,
    group: fn(&K, &RandomState) -> u32,
}

struct Grouped<V> {
    value: V,
    group: u32,
}

/// Where a key belongs in its [`KeyedMap`].
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(crate) hash: u32,
    pub(crate) group: u32,
}

/// There is no room for a key in a [`KeyedMap`].
pub struct NoRoom<K> {
    /// The key.
    key: K,
    pub(crate) place: Place,
    pub(crate) is_group_full: bool,
}

impl<K> NoRoom<K> {
    /// The key.
    #[must_use]
    pub fn into_key(self) -> K {
        self.key
    }
}

impl<K, V> KeyedMap<K, V> {
    /// A map without keys, which has not allocated. There may be 10,000 of them. No key has a group.
    #[must_use]
    pub fn new() -> Self {
        Self {
            keys: Table::new(),
            groups: Table::new(),
            origins: None,
            state: RandomState::new(),
            max: MAX_KEYS,
            hand: 0,
            recent: 0,
        }
    }

    /// How many keys there may be.
    #[must_use]
    pub const fn max(&self) -> NonZeroUsize {
        self.max
    }

    /// Sets how many keys there may be. If there are more, they stay until they are found to be spare.
    pub const fn set_max(&mut self, max: NonZeroUsize) {
        self.max = max;
    }

    /// How many keys there are, some of them spare perhaps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies of the keys whose values `is_wanted` says something of, with what it says, in no order. `clone` makes
    /// the copies.
    pub fn keys_of<T>(
        &self,
        mut is_wanted: impl FnMut(&V) -> Option<T>,
        clone: fn(&K) -> K,
    ) -> Vec<(T, K)> {
        let entries = self.keys.iter();
        let wanted = entries.filter_map(|entry| {
            let said = is_wanted(&entry.value.value)?;
            Some((said, clone(&entry.key)))
        });
        wanted.collect()
    }

    /// The values of all keys, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.keys.iter().map(|entry| &entry.value.value)
    }
}

impl<V> KeyedMap<Origin, V> {
    /// A map like a [`new`](Self::new) one, whose keys have the groups of their hosts, and the hashes that calls carry.
    #[must_use]
    pub fn per_origin() -> Self {
        Self {
            origins: Some(Origins {
                hash: |origin| OriginHash::of(origin).get(),
                group: |origin, state| match origin.host() {
                    Some(host) => (state.hash_one(host.group()) as u32).max(NO_GROUP + 1),
                    None => NO_GROUP,
                },
            }),
            ..Self::new()
        }
    }

    /// The value of the origin that `key` is borrowed from, if it is known.
    ///
    /// Uses the hash that the call carries, or makes it for the maps that come after this one. Allocates nothing, unless
    /// this is not a map [for each origin](Self::per_origin).
    pub fn get_origin(&mut self, key: &OriginKey<'_>) -> Option<&V> {
        if self.origins.is_none() {
            return self.get(&key.to_origin());
        }
        let recent = self.keys.get(self.recent);
        if recent.is_none_or(|recent| !key.is_spelled_like(&recent.key)) {
            self.recent = self.find_origin(key)?;
        }
        Some(&self.keys.get(self.recent)?.value.value)
    }

    fn find_origin(&self, key: &OriginKey<'_>) -> Option<u32> {
        let find = |hash: OriginHash| self.keys.find(hash.get(), |origin| key.is(origin));
        let Some(carried) = key.known_hash() else {
            return find(key.rehash());
        };
        find(carried).or_else(|| {
            // It may be the hash of another origin: a layer has changed the URI.
            let hash = key.rehash();
            (hash != carried).then(|| find(hash)).flatten()
        })
    }
}

impl<K: Eq + Hash, V> KeyedMap<K, V> {
    /// The value of `key`, if it is known.
    #[inline]
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let recent = self.keys.get(self.recent);
        if recent.is_none_or(|recent| recent.key != *key) {
            let hash = self.hash(key);
            self.recent = self.keys.find(hash, |other| other == key)?;
        }
        Some(&self.keys.get(self.recent)?.value.value)
    }

    /// Where `key` belongs.
    pub fn place(&self, key: &K) -> Place {
        Place {
            hash: self.hash(key),
            group: match &self.origins {
                Some(origins) => (origins.group)(key, &self.state),
                None => NO_GROUP,
            },
        }
    }

    /// Adds `key`, which is not known and belongs to `place`, with a `new` value, after some of the keys were forgotten whose values `is_spare` says
    /// are. These are pushed to `forgotten`, with their values: a caller with a lock drops them without it, as dropping them
    /// may run any code.
    ///
    /// # Errors
    ///
    /// The key, if there may be no more, or no more of its group, and none was found to be spare.
    #[cold]
    pub fn insert(
        &mut self,
        place: Place,
        key: K,
        is_spare: impl FnMut(&V) -> bool,
        new: impl FnOnce() -> V,
        forgotten: &mut Vec<(K, V)>,
    ) -> Result<&V, NoRoom<K>> {
        let Place { hash, group } = place;
        if !self.make_room(group, is_spare, forgotten) {
            return Err(NoRoom {
                key,
                place,
                is_group_full: self.is_full(group),
            });
        }
        let value = new();
        self.join_group(group);
        self.recent = self.keys.push(hash, key, Grouped { value, group });
        Ok(&self.keys.get_mut(self.recent).value.value)
    }

    fn hash(&self, key: &K) -> u32 {
        match &self.origins {
            Some(origins) => (origins.hash)(key),
            None => self.state.hash_one(key) as u32,
        }
    }
}

/// None of these runs code of the key's.
impl<K, V> KeyedMap<K, V> {
    /// Forgets some that are spare, and says whether there is room for one more of the group.
    fn make_room(
        &mut self,
        group: u32,
        mut is_spare: impl FnMut(&V) -> bool,
        forgotten: &mut Vec<(K, V)>,
    ) -> bool {
        let wanted = if self.len() < FEW { 0 } else { LOOKS };
        let mut looks = 0;
        while looks < wanted || looks < MOST_LOOKS && !self.has_room(group) {
            self.look(&mut is_spare, forgotten);
            looks += 1;
        }
        self.has_room(group)
    }

    fn has_room(&self, group: u32) -> bool {
        self.len() < self.most() && !self.is_full(group)
    }

    fn is_full(&self, group: u32) -> bool {
        let of_group = self.groups.find(group, |()| true);
        let of_group = of_group.and_then(|at| self.groups.get(at));
        of_group.is_some_and(|of_group| of_group.value >= self.most().div_ceil(GROUP_PART))
    }

    /// How many keys there may be: all indices are below `NIL`.
    fn most(&self) -> usize {
        self.max.get().min(NIL as usize)
    }

    /// Forgets the next entry, if it is spare.
    ///
    /// The hand goes down, so that whatever takes the place of one that is forgotten was looked at before, or is new.
    fn look(&mut self, is_spare: &mut impl FnMut(&V) -> bool, forgotten: &mut Vec<(K, V)>) {
        let len = self.len() as u32;
        if self.hand == 0 || self.hand > len {
            self.hand = len;
        }
        self.hand = self.hand.saturating_sub(1);
        let next = self.keys.get(self.hand);
        if next.is_some_and(|entry| is_spare(&entry.value.value))
            && let Some(entry) = self.keys.remove(self.hand)
        {
            self.leave_group(entry.value.group);
            forgotten.push((entry.key, entry.value.value));
        }
    }

    fn join_group(&mut self, group: u32) {
        if group == NO_GROUP {
            return;
        }
        match self.groups.find(group, |()| true) {
            Some(at) => self.groups.get_mut(at).value += 1,
            None => {
                self.groups.push(group, (), 1);
            }
        }
    }

    fn leave_group(&mut self, group: u32) {
        let Some(at) = self.groups.find(group, |()| true) else {
            return;
        };
        let members = &mut self.groups.get_mut(at).value;
        *members -= 1;
        if *members == 0 {
            self.groups.remove(at);
        }
    }
}

impl<K> fmt::Debug for NoRoom<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key: it may be a credential.
        f.debug_struct("NoRoom")
            .field("is_group_full", &self.is_group_full)
            .finish_non_exhaustive()
    }
}

impl<K, V> Default for KeyedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for KeyedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the keys: they may be credentials.
        f.debug_struct("KeyedMap")
            .field("len", &self.len())
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
