//! Everything that a response's headers say about waiting, whatever the headers are.
//!
//! The input is a block of header fields. Reading it neither panics nor allocates, the answers fit each other, and the
//! order of fields with different names does not matter.

#![no_main]

use std::{
    alloc::System,
    time::{Duration, UNIX_EPOCH},
};

use courteous_fuzz::fields;
use courteous_hints::{Hints, Pushback};
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// 2026-03-26T15:59:00Z.
const RECEIVED: Duration = Duration::from_secs(1_774_540_740);

fuzz_target!(|data: &[u8]| {
    let headers = fields(data);
    let received = UNIX_EPOCH + RECEIVED;

    let region = Region::new(ALLOCATOR);
    let hints = Hints::at(&headers, received);
    let (wait, quota) = (hints.wait(), hints.quota());
    let (retry_after, pushback) = (hints.retry_after(), hints.grpc_pushback());
    let (refusal_wait, retry_info) = (hints.refusal_wait(), hints.retry_info());
    let _ = (hints.should_retry(), hints.is_replayed());
    let mut least_of_each = None;
    hints.each_quota(|quota| {
        let rest = quota.remaining();
        least_of_each = Some(least_of_each.map_or(rest, |least: u64| least.min(rest)));
    });
    assert_eq!(region.change().allocations, 0);

    assert!(retry_after.is_none() || wait == retry_after);
    assert!(retry_after.is_some() || retry_info.is_none() || wait == retry_info);
    assert!(wait.is_none() || refusal_wait == wait);
    assert_eq!(least_of_each, quota.map(|quota| quota.remaining()));
    if let Some(delay) = retry_info {
        assert!(delay <= Duration::from_secs(315_576_000_000));
    }
    if let Some(Pushback::After(wait)) = pushback {
        assert!(wait <= Duration::from_millis(i32::MAX as u64));
    }
    if quota.is_some() {
        assert!(headers.keys().any(|name| name.as_str().contains("limit")));
    }

    let mut reversed = HeaderMap::new();
    let names: Vec<_> = headers.keys().collect();
    for name in names.into_iter().rev() {
        for value in headers.get_all(name) {
            reversed.append(name, value.clone());
        }
    }
    let again = Hints::at(&reversed, received);
    assert_eq!(again.wait(), wait);
    assert_eq!(again.refusal_wait(), refusal_wait);
    assert_eq!(again.retry_after(), retry_after);
    let least = |quota: courteous_hints::Quota<'_>| (quota.remaining(), quota.reset());
    assert_eq!(again.quota().map(least), quota.map(least));
});
