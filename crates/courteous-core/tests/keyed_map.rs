//! The promises of a map that forgets its keys.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    num::NonZeroUsize,
    sync::Arc,
};

use courteous_core::{KeyedMap, RejectReason, Rejected};
use proptest::{collection::vec, prelude::*};

/// In use by whoever has it too.
type Value = Arc<u32>;

fn is_spare(value: &Value) -> bool {
    Arc::strong_count(value) == 1
}

fn max(keys: usize) -> NonZeroUsize {
    NonZeroUsize::new(keys).unwrap()
}

/// Takes the value of the key, which is its number if it is new.
fn take(map: &mut KeyedMap<u32, Value>, key: u32) -> Result<Value, Rejected> {
    map.get_or_insert(key, is_spare, |key| Arc::new(*key))
        .cloned()
}

/// Has few hashes, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alike {
    key: u32,
    hashes: u32,
}

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.key % self.hashes).hash(state);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Takes the key, and keeps its value.
    Hold(u32),
    /// Takes the key, and drops its value.
    Touch(u32),
    /// Drops the values that are kept of this key.
    Release(u32),
    SetMax(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..300_u32).prop_map(Step::Hold),
        4 => (0..300_u32).prop_map(Step::Touch),
        4 => (0..300_u32).prop_map(Step::Release),
        1 => (1..250_usize).prop_map(Step::SetMax),
    ]
}

proptest! {
    /// The naive model knows which values are in use, and nothing of how the others are forgotten.
    #[test]
    fn what_is_in_use_is_kept_and_the_rest_makes_room(
        most in 1..250_usize,
        hashes in prop_oneof![Just(1_u32), 2..5_u32, Just(u32::MAX)],
        steps in vec(step(), 0..600),
    ) {
        let mut map = KeyedMap::new();
        map.set_max(max(most));
        let mut most = most;
        let mut made = 0;
        let mut held: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
        for step in steps {
            let before = map.len();
            match step {
                Step::Release(key) => {
                    held.remove(&key);
                }
                Step::SetMax(keys) => {
                    most = keys;
                    map.set_max(max(keys));
                }
                Step::Hold(key) | Step::Touch(key) => {
                    let known = map.get(&Alike { key, hashes }).cloned();
                    let given = map.get_or_insert(Alike { key, hashes }, is_spare, |_| {
                        made += 1;
                        Arc::new(made)
                    });
                    let given = given.cloned();
                    match (&known, &given) {
                        (Some(known), Ok(given)) => assert!(Arc::ptr_eq(known, given)),
                        (Some(_), Err(_)) => panic!("a known key was refused"),
                        (None, Ok(given)) => {
                            // If it was known before, nobody had it any more.
                            assert!(!held.contains_key(&key) && **given == made);
                            assert!(map.len() <= most);
                        }
                        (None, Err(rejected)) => {
                            assert_eq!(rejected.reason(), RejectReason::TooManyKeys);
                            assert!(map.len() >= most);
                            // All were looked at, unless there were more than there may be now.
                            assert!(map.len() == held.len() || before > most);
                        }
                    }
                    if let (Step::Hold(_), Ok(given)) = (step, given) {
                        held.entry(key).or_default().push(given);
                    }
                }
            }
            assert!(map.len() <= before.max(most));
            assert_eq!(map.values().count(), map.len());
            for (key, values) in &held {
                let kept = map.get(&Alike { key: *key, hashes }).unwrap();
                assert!(values.iter().all(|value| Arc::ptr_eq(value, kept)));
            }
        }
    }
}

#[test]
fn of_many_keys_a_spare_one_is_found_within_a_round() {
    const KEYS: usize = 10_000;
    let mut map = KeyedMap::new();
    let mut held: Vec<_> = (0..KEYS as u32).map(|key| take(&mut map, key)).collect();
    // Wherever the hand is.
    for (new, released) in (KEYS as u32..).zip([0, 5_000, 9_999, 123]) {
        let refused = take(&mut map, new).unwrap_err();
        assert_eq!(refused.reason(), RejectReason::TooManyKeys);
        held[released] = Err(refused);
        let calls = (1..).find(|_| {
            held[released] = take(&mut map, new);
            held[released].is_ok()
        });
        assert!(calls.unwrap() <= KEYS.div_ceil(256), "{calls:?}");
        assert_eq!(map.len(), KEYS);
    }
}

#[test]
fn a_new_key_looks_at_few_others_and_a_known_one_at_none() {
    let mut map = KeyedMap::new();
    map.set_max(max(100_000));
    let mut looks = 0;
    let mut insert = |map: &mut KeyedMap<u32, u32>, key| {
        let before = looks;
        let count = |_: &u32| {
            looks += 1;
            false
        };
        let known = map.get_or_insert(key, count, |key| *key).copied();
        assert!(known.is_err() || known == Ok(key));
        looks - before
    };
    for key in 0..100_000 {
        assert_eq!(insert(&mut map, key), if key < 64 { 0 } else { 4 });
    }
    for key in (0..100_000).chain([0, 0]) {
        assert_eq!(insert(&mut map, key), 0);
    }
    assert_eq!(insert(&mut map, 100_000), 256);
}

#[test]
fn a_crowd_that_is_gone_is_soon_forgotten() {
    let mut map = KeyedMap::new();
    map.set_max(NonZeroUsize::MAX);
    let crowd: Vec<_> = (0..100_000).map(|key| take(&mut map, key)).collect();
    assert_eq!(map.len(), 100_000);
    drop(crowd);
    // Each makes room for four.
    for key in 100_000..135_000 {
        take(&mut map, key).unwrap();
    }
    assert!(map.len() <= 64, "{}", map.len());
}

#[test]
fn of_all_keys_soon_only_about_a_quarter_are_spare() {
    let mut map = KeyedMap::new();
    map.set_max(NonZeroUsize::MAX);
    let _held: Vec<_> = (0..10_000).map(|key| take(&mut map, key)).collect();
    for key in 10_000..100_000 {
        take(&mut map, key).unwrap();
        assert!(map.len() < 14_000, "{}", map.len());
    }
}

#[test]
fn few_keys_are_kept_if_they_may_be() {
    let mut map = KeyedMap::new();
    for key in 0..64 {
        take(&mut map, key).unwrap();
    }
    assert_eq!(map.len(), 64);
    take(&mut map, 64).unwrap();
    assert_eq!(map.len(), 61);
    map.set_max(max(2));
    for key in 100..200 {
        take(&mut map, key).unwrap();
    }
    assert_eq!(map.len(), 2);
}
