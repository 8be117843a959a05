//! The promises of a map that forgets its keys.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    num::NonZeroUsize,
    sync::Arc,
};

use courteous_core::{CallContext, Origin, OriginHash, OriginHashes, RequestView};
use courteous_limit::{KeyedMap, NoRoom, Overflow};
use http::Request;
use proptest::{collection::vec, prelude::*};

/// In use while it has another owner.
type Value = Arc<u32>;

fn is_spare(value: &Value) -> bool {
    Arc::strong_count(value) == 1
}

fn max(keys: usize) -> NonZeroUsize {
    NonZeroUsize::new(keys).unwrap()
}

/// The value of the key, or a new one; or the key, if there is no room.
fn take_with<K: Eq + Hash, V: Clone>(
    map: &mut KeyedMap<K, V>,
    key: K,
    is_spare: impl FnMut(&V) -> bool,
    new: impl FnOnce() -> V,
) -> Result<V, K> {
    match map.get(&key) {
        Some(known) => Ok(known.clone()),
        None => {
            let place = map.place(&key);
            let inserted = map.insert(place, key, is_spare, new, &mut Vec::new());
            inserted.cloned().map_err(NoRoom::into_key)
        }
    }
}

/// Takes the value of the key, which is its number if it is new.
fn take(map: &mut KeyedMap<u32, Value>, key: u32) -> Result<Value, u32> {
    take_with(map, key, is_spare, || Arc::new(key))
}

fn origin(uri: &str) -> Origin {
    let request = Request::builder().uri(uri).body(()).unwrap();
    RequestView::of(&request).origin()
}

/// Takes the value of the origin with this host.
fn take_host(map: &mut KeyedMap<Origin, Value>, host: &str) -> Result<Value, Origin> {
    let origin = origin(&format!("https://{host}/"));
    take_with(map, origin, is_spare, || Arc::new(0))
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
                    let given = take_with(&mut map, Alike { key, hashes }, is_spare, || {
                        made += 1;
                        Arc::new(made)
                    });
                    match (&known, &given) {
                        (Some(known), Ok(given)) => assert!(Arc::ptr_eq(known, given)),
                        (Some(_), Err(_)) => panic!("no room for a known key"),
                        (None, Ok(given)) => {
                            // If it was known before, it had no other owner any more.
                            assert!(!held.contains_key(&key) && **given == made);
                            assert!(map.len() <= most);
                        }
                        (None, Err(unused)) => {
                            assert_eq!(unused.key, key);
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
        held[released] = Err(take(&mut map, new).unwrap_err());
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
        let known = take_with(map, key, count, || key);
        assert_eq!(known.unwrap_or_else(|unused| unused), key);
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

#[test]
fn what_is_forgotten_is_given_to_the_caller_to_drop() {
    let mut map = KeyedMap::new();
    map.set_max(max(1));
    let mut forgotten = Vec::new();
    for key in [1, 2] {
        let place = map.place(&key);
        let inserted = map.insert(place, key, |_| true, || Arc::new(key), &mut forgotten);
        assert_eq!(inserted.unwrap(), &Arc::new(key));
    }
    assert_eq!(forgotten, [(1, Arc::new(1))]);
}

#[test]
fn no_group_of_hosts_has_more_than_a_quarter_of_the_keys() {
    for (name, groups) in [
        ("name", ["evil.example", "other.example"]),
        ("v4", ["10.0.0", "10.0.1"]),
        ("v6", ["2001:db8:0:1", "2001:db8:0:2"]),
    ] {
        let host = |group: &str, number: usize| match name {
            "name" => format!("n{number}.{group}"),
            "v4" => format!("{group}.{}:{}", number % 250, 1_000 + number),
            _ => format!("[{group}::{number:x}]"),
        };
        let mut map = KeyedMap::per_origin();
        map.set_max(max(1_000));
        let flood: Vec<_> = (0..10_000)
            .map(|number| take_host(&mut map, &host(groups[0], number)))
            .collect();
        assert_eq!(map.len(), 250, "{name}");
        // Those that came first stay, and others have room.
        assert!(flood[..250].iter().all(Result::is_ok), "{name}");
        let other = take_host(&mut map, &host(groups[1], 1)).unwrap();
        assert!(take_host(&mut map, &host(groups[0], 9_999)).is_err());
        drop(flood);
        // All but one are spare now, and the group may have others.
        for number in 20_000..22_000 {
            take_host(&mut map, &host(groups[0], number)).unwrap();
            assert!(map.len() <= 251, "{name}");
        }
        let again = take_host(&mut map, &host(groups[1], 1)).unwrap();
        assert!(Arc::ptr_eq(&other, &again), "{name}");
    }
}

proptest! {
    /// However keys come and go, each group has as many as the map counts for it: no more than a quarter, and room for that
    /// many once they are gone.
    #[test]
    fn groups_are_counted_exactly(steps in vec((0..5_u32, 0..60_u32, any::<bool>()), 0..400)) {
        let mut map = KeyedMap::per_origin();
        map.set_max(max(40));
        let mut held = BTreeMap::new();
        for (group, number, hold) in steps {
            let name = format!("n{number}.g{group}.example");
            match hold {
                true => {
                    if let Ok(value) = take_host(&mut map, &name) {
                        held.insert((group, number), value);
                    }
                }
                false => {
                    held.remove(&(group, number));
                }
            }
            for group in 0..5 {
                prop_assert!(held.keys().filter(|key| key.0 == group).count() <= 10);
            }
        }
        held.clear();
        for number in 100..110 {
            let taken = take_host(&mut map, &format!("n{number}.g0.example"));
            prop_assert!(taken.is_ok());
            held.insert((0, number), taken.unwrap());
        }
        prop_assert!(take_host(&mut map, "n0.g0.example").is_err());
    }
}

#[test]
fn keys_without_room_share_a_value_with_their_group_or_with_few_others() {
    let mut map = KeyedMap::per_origin();
    map.set_max(max(8));
    let mut overflow = Overflow::new();
    let mut made = 0;
    let mut share = |map: &mut KeyedMap<Origin, u32>, host: &str| {
        let key = origin(&format!("http://{host}/"));
        let place = map.place(&key);
        match map.insert(place, key, |_| false, || 0, &mut Vec::new()) {
            Ok(_) => None,
            Err(no_room) => {
                made += 1;
                let shared = *overflow.get_or_insert(&no_room, |_| false, || made);
                assert!(overflow.shared_by(place).any(|value| *value == shared));
                Some(shared)
            }
        }
    };
    let mut shared = Vec::new();
    for group in 0..4 {
        for number in 0..5 {
            let name = format!("n{number}.g{group}.example");
            shared.push(share(&mut map, &name));
        }
    }
    // Two of each group have room, and the others share the one value of the group.
    for of_group in shared.chunks(5) {
        assert_eq!(of_group[..2], [None, None]);
        assert!(of_group[2].is_some());
        assert!(of_group[2..].iter().all(|value| *value == of_group[2]));
    }
    shared.dedup();
    assert_eq!(shared.iter().flatten().count(), 4);
    // The map is full: what is of another group has a value of none of these.
    for number in 0..1_000 {
        let other = share(&mut map, &format!("other{number}.test"));
        assert!(other.is_some() && !shared.contains(&other));
    }
    assert_eq!(overflow.values().count(), 4 + 64);
}

/// A request to one origin whose context carries the hash of another.
fn with_hash_of(uri: &str, other: &str) -> Request<()> {
    let mut request = Request::builder().uri(other).body(()).unwrap();
    CallContext::edit(request.extensions_mut());
    let hashes = OriginHashes::default();
    let key = RequestView::of(&request).with_hashes(&hashes).origin_key();
    assert_eq!(key.hash(), OriginHash::of(&origin(other)));
    hashes.carry(request.extensions_mut());
    *request.uri_mut() = uri.parse().unwrap();
    request
}

#[test]
fn an_origin_is_looked_up_as_the_request_spells_it() {
    let mut map = KeyedMap::per_origin();
    let _value = take_host(&mut map, "api.test").unwrap();
    let _other = take_host(&mut map, "b.test").unwrap();
    let mut is_known = |uri: &str, host: Option<&str>| {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(()).unwrap();
        let key = RequestView::of(&request).origin_key();
        map.get_origin(&key).is_some()
    };
    assert!(is_known("https://api.test/a", None));
    assert!(is_known("https://u:p@API.test.:443/b", None));
    assert!(is_known("https://b.test/", None));
    assert!(!is_known("http://api.test/", None));
    assert!(!is_known("https://api.test:8443/", None));
    assert!(!is_known("/", None));
    assert!(!is_known("/", Some("api.test")));
}

#[test]
fn a_map_of_origins_that_is_not_for_each_origin_finds_them_too() {
    let mut map = KeyedMap::new();
    let _value = take_host(&mut map, "api.test").unwrap();
    let request = Request::builder().uri("https://API.test:443/");
    let request = request.body(()).unwrap();
    let key = RequestView::of(&request).origin_key();
    assert!(map.get_origin(&key).is_some());
}

proptest! {
    /// A hash that is out of date finds nothing of another origin, and hides nothing of this one.
    #[test]
    fn any_carried_hash_leads_to_the_origin_of_the_request(
        calls in vec((0..12_usize, 0..12_usize, any::<bool>()), 1..100),
    ) {
        let uri = |number: usize| format!("https://api-{number}.test/");
        let mut map = KeyedMap::per_origin();
        for (number, carried, through_hashes) in calls {
            let request = with_hash_of(&uri(number), &uri(carried));
            let hashes = OriginHashes::of(request.extensions().get());
            let view = match through_hashes {
                true => RequestView::of(&request).with_hashes(&hashes),
                false => RequestView::of(&request),
            };
            let known = map.get_origin(&view.origin_key()).copied();
            let own = origin(&uri(number));
            prop_assert_eq!(known, map.get(&own).copied());
            prop_assert!(known.is_none_or(|known| known == number));
            let given = take_with(&mut map, own, |_| false, || number);
            prop_assert_eq!(given, Ok(number));
        }
    }
}
