//! Reading allocates nothing: it is done for every response. The only test in this file, as
//! allocations are counted for the whole process.

use std::{
    alloc::System,
    time::{Duration, UNIX_EPOCH},
};

use courteous_hints::Hints;
use http::{HeaderMap, HeaderName, HeaderValue};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn reading_allocates_nothing() {
    let fields = [
        ("date", "Thu, 26 Mar 2026 15:59:00 GMT"),
        ("retry-after", "Thu, 26 Mar 2026 16:00:00 GMT"),
        ("ratelimit", "\"burst\";r=0;t=30"),
        (
            "ratelimit-policy",
            "\"daily\";q=1000;w=86400,\"burst\";q=100;w=60",
        ),
        ("anthropic-ratelimit-requests-remaining", "0"),
        ("anthropic-ratelimit-requests-reset", "2026-03-26T15:59:29Z"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "6m0s"),
        ("x-ratelimit-limit", "60"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1774540769"),
        (
            "zendesk-ratelimit-tickets-index",
            "total=100; remaining=99; resets=41",
        ),
        ("grpc-retry-pushback-ms", "soon"),
        (
            "grpc-status-details-bin",
            "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIBQ",
        ),
    ];
    let headers: HeaderMap = fields
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    let mut unhinted = headers.clone();
    unhinted.remove("retry-after");
    unhinted.remove("grpc-status-details-bin");

    let region = Region::new(ALLOCATOR);
    let hints = Hints::of(&headers);
    let read = (hints.wait(), hints.quota().map(|quota| quota.remaining()));
    let others = (
        hints.grpc_pushback(),
        hints.should_retry(),
        hints.is_replayed(),
    );
    let mut quotas = 0;
    hints.each_quota(|_| quotas += 1);
    let info = hints.retry_info();
    let wait = Hints::at(&unhinted, UNIX_EPOCH).refusal_wait();
    let allocations = region.change().allocations;

    assert_eq!(allocations, 0);
    assert_eq!(read, (Some(Duration::from_secs(60)), Some(0)));
    assert_eq!(
        wait,
        Some(Duration::from_secs(30)),
        "the draft's field comes first"
    );
    assert!(others.0.is_some());
    assert_eq!((quotas, info), (5, Some(Duration::from_secs(5))));
}
