use crate::pages::Pages;

/// No entry.
pub(crate) const NIL: u32 = u32::MAX;

/// A hash table that grows and shrinks by one entry at a time (linear hashing; W. Litwin, 1980).
///
/// An entry is named by its index, which is below `NIL`. Nothing here hashes or compares a key: the caller does.
pub(crate) struct Table<K, V> {
    /// Without gaps: the last one takes the place of one that is removed.
    entries: Pages<Entry<K, V>>,
    /// The first entry of each chain, or `NIL`. There are as many chains as entries: with each entry, one chain is split, or
    /// two are joined.
    chains: Pages<u32>,
}

pub(crate) struct Entry<K, V> {
    hash: u32,
    /// The next entry of the chain, or `NIL`.
    next: u32,
    pub(crate) key: K,
    pub(crate) value: V,
}

impl<K, V> Table<K, V> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Pages::new(),
            chains: Pages::new(),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(crate) fn get(&self, at: u32) -> Option<&Entry<K, V>> {
        self.entries.get(at)
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> &mut Entry<K, V> {
        &mut self.entries[at]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<K, V>> {
        self.entries.iter()
    }

    /// The entry with this hash whose key `is_it`.
    pub(crate) fn find(&self, hash: u32, is_it: impl Fn(&K) -> bool) -> Option<u32> {
        let mut at = match self.len() {
            0 => NIL,
            _ => self.chains[self.chain_of(hash)],
        };
        while at != NIL {
            let entry = &self.entries[at];
            if entry.hash == hash && is_it(&entry.key) {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    /// Adds an entry, and says where it is.
    pub(crate) fn push(&mut self, hash: u32, key: K, value: V) -> u32 {
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
        at
    }

    /// Takes an entry out. The last one takes its place.
    pub(crate) fn remove(&mut self, at: u32) -> Option<Entry<K, V>> {
        let chain_of = |table: &Self, at: u32| table.chain_of(table.entries[at].hash);
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
