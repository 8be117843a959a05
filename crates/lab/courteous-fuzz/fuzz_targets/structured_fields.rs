//! `RateLimit` and `RateLimit-Policy`, which are lists of RFC 9651.
//!
//! The input is a line for each field. If the lines are what the current draft describes, they are
//! read as the `sfv` crate, a strict parser, reads them. Whatever they are, reading them neither
//! panics nor takes long.

#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use courteous_fuzz::values;
use courteous_hints::Hints;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use sfv::{BareItem, List, ListEntry, Parser};

/// The number of limits that are read.
const LIMITS: usize = 16;

fuzz_target!(|data: &[u8]| {
    let [limits, policies] = values(data);
    let mut headers = HeaderMap::new();
    for (name, value) in [("ratelimit", &limits), ("ratelimit-policy", &policies)] {
        headers.extend(value.clone().map(|value| (name.parse().ok(), value)));
    }
    let hints = Hints::at(&headers, UNIX_EPOCH);
    let (wait, quota) = (hints.wait(), hints.quota());
    if policies.is_some_and(|policies| !policies.is_empty()) {
        return;
    }
    let Some(states) = limits.and_then(|limits| states(limits.as_bytes())) else {
        return;
    };
    let used_up = states.iter().filter(|(remaining, _)| *remaining == 0);
    let longest = used_up.map(|(_, reset)| *reset).max();
    assert_eq!(wait, longest.map(Duration::from_secs));
    let least = states.iter().map(|(remaining, _)| *remaining).min();
    assert_eq!(quota.map(|quota| quota.remaining()), least);
});

/// What remains of each limit, and when it resets, if the whole field has the draft's form.
fn states(field: &[u8]) -> Option<Vec<(u64, u64)>> {
    let list: List = Parser::new(field).parse().ok()?;
    let state = |entry: &ListEntry| {
        let ListEntry::Item(item) = entry else {
            return None;
        };
        let named = matches!(&item.bare_item, BareItem::String(name) if !name.as_str().is_empty());
        let known = ["r", "t"];
        let plain = item.params.keys().all(|key| known.contains(&key.as_str()));
        let number = |key| match item.params.get(key)? {
            BareItem::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        // More than 31 days is a time since 1970, or meaningless.
        let reset = number("t").filter(|&seconds| seconds <= 31 * 86_400)?;
        (named && plain).then_some((number("r")?, reset))
    };
    (list.len() <= LIMITS && field.len() <= 1024)
        .then(|| list.iter().map(state).collect())
        .flatten()
}
