use std::fmt;

use crate::keyed_map::{NO_GROUP, NoRoom, Place};

/// How many values the keys without room share, apart from those of groups.
const SHARES: usize = 64;
/// How many groups may have a value: about four at a time are full.
const GROUPS: usize = 8;

/// What keys share that find no room in a [`KeyedMap`](crate::KeyedMap).
///
/// So a key without room keeps to a limit, which it shares, and is not rejected. A key whose group is full shares one
/// value with all such keys of its group, and with no other. In a map that is full, a key has one of 64 values, as its hash
/// says: that has random state, so an outsider cannot choose with whom a key shares.
///
/// Does not allocate before the first key comes.
pub struct Overflow<V> {
    groups: Vec<(u32, V)>,
    values: Vec<Option<V>>,
}

impl<V> Overflow<V> {
    /// Without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            groups: Vec::new(),
            values: Vec::new(),
        }
    }

    /// The values that a key may have shared before.
    pub fn shared_by(&self, place: Place) -> impl Iterator<Item = &V> {
        let group = self.groups.iter().find(|(group, _)| *group == place.group);
        let value = self.values.get(index(place.hash));
        let of_group = group.map(|(_, value)| value);
        of_group.into_iter().chain(value.and_then(Option::as_ref))
    }

    /// The value that a key shares for which there is `no_room`; if there is none yet, a `new` one. Values of groups may be
    /// forgotten if `is_spare` says that a new one would do the same.
    #[cold]
    pub fn get_or_insert<K>(
        &mut self,
        no_room: &NoRoom<K>,
        mut is_spare: impl FnMut(&V) -> bool,
        new: impl FnOnce() -> V,
    ) -> &V {
        let Place { hash, group } = no_room.place;
        if no_room.is_group_full && group != NO_GROUP {
            let known = self.groups.iter().position(|(other, _)| *other == group);
            if known.is_none() && self.groups.len() >= GROUPS {
                self.groups.retain(|(_, value)| !is_spare(value));
            }
            match known {
                Some(known) => return &self.groups[known].1,
                None if self.groups.len() < GROUPS => {
                    self.groups.push((group, new()));
                    return &self.groups[self.groups.len() - 1].1;
                }
                None => {}
            }
        }
        if self.values.is_empty() {
            self.values.resize_with(SHARES, || None);
        }
        self.values[index(hash)].get_or_insert_with(new)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        let of_groups = self.groups.iter().map(|(_, value)| value);
        of_groups.chain(self.values.iter().flatten())
    }
}

const fn index(hash: u32) -> usize {
    // The lowest bits choose the map's chains.
    (hash >> 26) as usize % SHARES
}

impl<V> Default for Overflow<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> fmt::Debug for Overflow<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overflow")
            .field("values", &self.values().count())
            .finish_non_exhaustive()
    }
}
