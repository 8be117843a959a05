use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroUsize,
};

use crate::{RejectReason, Rejected, pages::Pages};

/// How many keys there may be, if nobody says.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// Below this many keys, none is forgotten to save memory.
const FEW: usize = 64;
/// At how many keys each new one looks.
const LOOKS: usize = 4;
/// At how many it looks at the most, if there may be no more keys.
const MOST_LOOKS: usize = 256;

/// What a limit keeps for each of its keys, as long as it is worth keeping.
///
/// A key's value is made when it is first asked for. It may be forgotten once it is *spare*: a new one would do the same.
/// Which are is asked of some values with each new key, and never with a known one:
///
/// - A new key looks at four others, going round all of them, and forgets those that are spare. So, soon, only about
///   a quarter of the keys are spare, however many new ones come. With fewer than 64 keys, none is forgotten unless it has to
///   be.
/// - At the [maximum](Self::set_max) it looks at up to 256, until one is spare, and is refused if none is. Of up to 256 keys,
///   it misses none. Of more, a spare one is found by one of the next *keys / 256* calls with a new key, as each goes on
///   where the one before it ended.
///
/// No step takes longer because there are many keys: there is no moment at which all are looked at, moved, or given back to
/// the allocator. The memory of forgotten keys is given back.
///
/// Keys are hashed with random state of this map's, as they may come from outsiders; but for the key of the call before,
/// which is only compared.
pub struct KeyedMap<K, V> {
    /// Without gaps: the last one takes the place of one that is forgotten.
    entries: Pages<Entry<K, V>>,
    /// The first entry of each chain, or `NIL`. There are as many chains as entries: with each entry, one chain is split, or
    /// two are joined (linear hashing; W. Litwin, 1980).
    chains: Pages<u32>,
    state: RandomState,
    max: NonZeroUsize,
    /// The entry that was looked at last.
    hand: u32,
    /// The entry that was found last, if it is still there.
    recent: u32,
}

struct Entry<K, V> {
    hash: u32,
    /// The next entry of the chain, or `NIL`.
    next: u32,
    key: K,
    value: V,
}

const NIL: u32 = u32::MAX;

impl<K, V> KeyedMap<K, V> {
    /// A map without keys, which has not allocated. There may be 10,000 of them.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: Pages::new(),
            chains: Pages::new(),
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
        self.entries.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of all keys, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|entry| &entry.value)
    }
}

impl<K: Eq + Hash, V> KeyedMap<K, V> {
    /// The value of `key`, if it is known.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let at = self.find(self.hash(key), key)?;
        Some(&self.entries[at].value)
    }

    /// The value of `key`; if it is not known, a `new` one, after some of those were forgotten that `is_spare` says are.
    ///
    /// # Errors
    ///
    /// [`TooManyKeys`](RejectReason::TooManyKeys), if there may be no more, and none was found to be spare.
    #[inline]
    pub fn get_or_insert(
        &mut self,
        key: K,
        is_spare: impl FnMut(&V) -> bool,
        new: impl FnOnce(&K) -> V,
    ) -> Result<&V, Rejected> {
        let recent = self.entries.get(self.recent);
        if recent.is_none_or(|recent| recent.key != key) {
            let hash = self.hash(&key);
            self.recent = match self.find(hash, &key) {
                Some(known) => known,
                None => self.insert(hash, key, is_spare, new)?,
            };
        }
        Ok(&self.entries[self.recent].value)
    }

    #[cold]
    fn insert(
        &mut self,
        hash: u32,
        key: K,
        is_spare: impl FnMut(&V) -> bool,
        new: impl FnOnce(&K) -> V,
    ) -> Result<u32, Rejected> {
        if !self.make_room(is_spare) {
            return Err(Rejected::new(RejectReason::TooManyKeys));
        }
        let value = new(&key);
        self.split_chain();
        let chain = self.chain_of(hash);
        let at = self.entries.len() as u32;
        let next = std::mem::replace(&mut self.chains[chain], at);
        self.entries.push(Entry {
            hash,
            next,
            key,
            value,
        });
        Ok(at)
    }

    fn find(&self, hash: u32, key: &K) -> Option<u32> {
        let mut at = match self.is_empty() {
            true => NIL,
            false => self.chains[self.chain_of(hash)],
        };
        while at != NIL {
            let entry = &self.entries[at];
            if entry.hash == hash && entry.key == *key {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    fn hash(&self, key: &K) -> u32 {
        self.state.hash_one(key) as u32
    }
}

/// None of these runs code of the key's.
impl<K, V> KeyedMap<K, V> {
    /// Forgets some that are spare, and says whether there is room for one more.
    fn make_room(&mut self, mut is_spare: impl FnMut(&V) -> bool) -> bool {
        // All indices are below `NIL`.
        let max = self.max.get().min(NIL as usize);
        let wanted = if self.len() < FEW { 0 } else { LOOKS };
        let mut looks = 0;
        while looks < wanted || looks < MOST_LOOKS && self.len() >= max {
            self.look(&mut is_spare);
            looks += 1;
        }
        self.len() < max
    }

    /// Forgets the next entry, if it is spare.
    ///
    /// The hand goes down, so that whatever takes the place of one that is forgotten was looked at before, or is new.
    fn look(&mut self, is_spare: &mut impl FnMut(&V) -> bool) {
        let len = self.len() as u32;
        if self.hand == 0 || self.hand > len {
            self.hand = len;
        }
        self.hand = self.hand.saturating_sub(1);
        if (self.entries.get(self.hand)).is_some_and(|entry| is_spare(&entry.value)) {
            drop(self.remove(self.hand));
        }
    }

    fn remove(&mut self, at: u32) -> Option<Entry<K, V>> {
        let chain_of = |map: &Self, at: u32| map.chain_of(map.entries[at].hash);
        let chain = chain_of(self, at);
        let next = self.entries[at].next;
        *self.link(chain, at) = next;
        let last = self.entries.len() as u32 - 1;
        if at != last {
            let chain = chain_of(self, last);
            *self.link(chain, last) = at;
        }
        let entry = self.entries.swap_remove(at);
        self.join_chain();
        entry
    }

    /// What points to this entry, or to the end, in a chain that has it.
    fn link(&mut self, chain: u32, to: u32) -> &mut u32 {
        let mut before = None;
        let mut at = self.chains[chain];
        while at != to {
            before = Some(at);
            at = self.entries[at].next;
        }
        match before {
            Some(before) => &mut self.entries[before].next,
            None => &mut self.chains[chain],
        }
    }

    /// Which chain has the entries with this hash: its lowest bits say, as many as there are chains for.
    #[inline]
    fn chain_of(&self, hash: u32) -> u32 {
        let chains = self.chains.len() as u32;
        let mask = mask(chains);
        match hash & mask {
            chain if chain < chains => chain,
            // It was not split yet.
            chain => chain & (mask >> 1),
        }
    }

    /// Makes one more chain, of entries of the only one that can have some of its.
    fn split_chain(&mut self) {
        let new = self.chains.len() as u32;
        self.chains.push(NIL);
        if new == 0 {
            return;
        }
        let old = new & (mask(new + 1) >> 1);
        let mut at = std::mem::replace(&mut self.chains[old], NIL);
        while at != NIL {
            let chain = self.chain_of(self.entries[at].hash);
            let entry = &mut self.entries[at];
            let next = entry.next;
            entry.next = std::mem::replace(&mut self.chains[chain], at);
            at = next;
        }
    }

    /// Undoes [`split_chain`](Self::split_chain).
    fn join_chain(&mut self) {
        let chains = self.chains.len() as u32;
        let Some(first) = self.chains.pop() else {
            return;
        };
        if first != NIL {
            let old = (chains - 1) & (mask(chains) >> 1);
            *self.link(old, NIL) = first;
        }
    }
}

/// The bits that tell so many chains apart.
#[inline]
fn mask(chains: u32) -> u32 {
    let unused = (chains - 1).leading_zeros();
    u32::MAX.checked_shr(unused).unwrap_or(0)
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
