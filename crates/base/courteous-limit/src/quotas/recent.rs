use std::collections::HashMap;

const NIL: u32 = u32::MAX;

/// Values by key, up to a number. The key that was used least recently makes room for a new one.
///
/// ```text
/// slots     0: a    1: b    2: c          places   a -> 0, b -> 1, c -> 2
/// by age    newest -> b <-> a <-> c <- oldest        (links between the slots, by number)
/// ```
#[derive(Debug)]
pub(crate) struct Recent<V> {
    max: u32,
    places: HashMap<u64, u32>,
    slots: Vec<Slot<V>>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Slot<V> {
    key: u64,
    value: V,
    newer: u32,
    older: u32,
}

impl<V> Recent<V> {
    /// Has allocated nothing yet. `max` must be above zero.
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            places: HashMap::new(),
            slots: Vec::new(),
            newest: NIL,
            oldest: NIL,
        }
    }

    /// The value of `key`, which stays as old as it is.
    pub(crate) fn peek(&self, key: u64) -> Option<&V> {
        let place = *self.places.get(&key)?;
        self.slots.get(place as usize).map(|slot| &slot.value)
    }

    /// The value of `key`, which stays as old as it is.
    pub(crate) fn peek_mut(&mut self, key: u64) -> Option<&mut V> {
        let place = *self.places.get(&key)?;
        self.slots
            .get_mut(place as usize)
            .map(|slot| &mut slot.value)
    }

    /// All values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().map(|slot| &slot.value)
    }

    /// Makes `key` the newest, with the value that `change` makes of its old one.
    pub(crate) fn set(&mut self, key: u64, change: impl FnOnce(Option<&V>) -> V) {
        let known = self.places.get(&key).copied();
        let value = change(self.peek(key));
        let place = match known {
            Some(place) => {
                self.unlink(place);
                self.slots[place as usize].value = value;
                place
            }
            None => self.place(key, value),
        };
        self.link(place);
    }

    /// A slot for a new key, which is not linked yet.
    fn place(&mut self, key: u64, value: V) -> u32 {
        let slot = Slot {
            key,
            value,
            newer: NIL,
            older: NIL,
        };
        let place = if self.slots.len() < self.max as usize {
            self.slots.push(slot);
            self.slots.len() as u32 - 1
        } else {
            let place = self.oldest;
            self.unlink(place);
            self.places.remove(&self.slots[place as usize].key);
            self.slots[place as usize] = slot;
            place
        };
        self.places.insert(key, place);
        place
    }

    fn unlink(&mut self, place: u32) {
        let Slot { newer, older, .. } = self.slots[place as usize];
        match newer {
            NIL => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
    }

    /// Makes an unlinked slot the newest.
    fn link(&mut self, place: u32) {
        let older = std::mem::replace(&mut self.newest, place);
        self.slots[place as usize].newer = NIL;
        self.slots[place as usize].older = older;
        match older {
            NIL => self.oldest = place,
            older => self.slots[older as usize].newer = place,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_least_recent_goes(max in 1_u32..6, keys in prop::collection::vec(0_u64..9, 0..80)) {
            let mut recent = Recent::new(max);
            // The newest last.
            let mut model: Vec<(u64, usize)> = Vec::new();
            for (value, key) in keys.into_iter().enumerate() {
                recent.set(key, |_| value);
                model.retain(|(other, _)| *other != key);
                model.push((key, value));
                if model.len() > max as usize {
                    model.remove(0);
                }
                for key in 0..9 {
                    let expected = model.iter().find(|(other, _)| *other == key).map(|(_, value)| value);
                    prop_assert_eq!(recent.peek(key), expected);
                }
                prop_assert_eq!(recent.places.len(), model.len());
            }
        }
    }

    #[test]
    fn a_value_is_made_of_the_one_before_it() {
        let mut recent = Recent::new(1);
        let add =
            |recent: &mut Recent<u32>, key| recent.set(key, |old| old.map_or(1, |old| old + 1));
        add(&mut recent, 7);
        add(&mut recent, 7);
        assert_eq!(recent.peek(7), Some(&2));
        add(&mut recent, 8);
        assert_eq!(recent.peek(7), None);
        assert_eq!(recent.peek_mut(8), Some(&mut 1));
    }
}
