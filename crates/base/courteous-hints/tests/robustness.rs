//! Whatever a server sends, reading it does not panic, and no wait comes from nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use courteous_hints::{Hints, Pushback};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

const NAMES: &[&str] = &[
    "age",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "beta-ratelimit",
    "beta-ratelimit-policy",
    "date",
    "grpc-retry-pushback-ms",
    "grpc-status-details-bin",
    "idempotent-replayed",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "ratelimit-resettime",
    "retry-after",
    "retry-after-ms",
    "stripe-should-retry",
    "x-amz-retry-after",
    "x-gcs-idempotence-request-timestamp",
    "x-hubspot-ratelimit-interval-milliseconds",
    "x-hubspot-ratelimit-max",
    "x-hubspot-ratelimit-remaining",
    "x-ms-ratelimit-remaining-resource",
    "x-ms-retry-after-ms",
    "x-rate-limit",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-limit-minute",
    "x-ratelimit-bucket",
    "x-ratelimit-interval-ms",
    "x-ratelimit-next",
    "x-ratelimit-remaining",
    "x-ratelimit-remaining-minute",
    "x-ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-resource",
    "x-ratelimit-retry-after",
    "x-retry-after",
    "x-shopify-shop-api-call-limit",
    "x-should-retry",
    "zendesk-ratelimit-tickets-index",
];

/// Pieces that values are made of, so that chance finds the branches behind the first character.
const PIECES: &[&str] = &[
    "0",
    "1",
    "9",
    "59",
    "60",
    "61",
    "1774540740",
    "1774540740000",
    "99999999999999999999999999",
    ".",
    "-",
    "+",
    "e",
    " ",
    ",",
    ";",
    "=",
    "\"",
    "\\",
    "/",
    ":",
    "r",
    "t",
    "w",
    "q",
    "qu",
    "pk",
    "limit",
    "remaining",
    "reset",
    "h",
    "m",
    "s",
    "ms",
    "us",
    "µs",
    "ns",
    "T",
    "Z",
    "GMT",
    "Thu",
    "Thursday",
    "Thu,",
    "Mar",
    "26",
    "2026",
    "26-Mar-26",
    "15:59:00",
    "2026-03-26",
    "2026-03-26T15:59:00",
    "9999-12-31T23:59:59",
    "Thu, 26 Mar 2026 15:59:60 GMT",
    "nan",
    "inf",
    "true",
    "false",
    "\"a\";r=0;t=5",
    "limit=1, remaining=0, reset=7",
    "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIBQ",
];

fn value() -> impl Strategy<Value = HeaderValue> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..8);
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => pieces.prop_map(|pieces| pieces.concat().into_bytes()),
        1 => bytes,
    ]
    .prop_filter_map("not a field value", |bytes| {
        HeaderValue::from_bytes(&bytes).ok()
    })
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let field = (prop::sample::select(NAMES), value());
    prop::collection::vec(field, 0..12).prop_map(|fields| {
        let fields = fields.into_iter();
        fields
            .map(|(name, value)| (HeaderName::from_static(name), value))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    })
}

fn received() -> impl Strategy<Value = SystemTime> {
    let seconds = prop_oneof![
        Just(0),
        Just(1_774_540_740),
        any::<u32>().prop_map(i64::from),
        any::<i64>()
    ];
    seconds.prop_filter_map("not a time", |seconds| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_can_be_read_without_a_panic(headers in headers(), received in received()) {
        let hints = Hints::at(&headers, received);
        let wait = hints.wait();
        let retry_after = hints.retry_after();
        let quota = hints.quota();
        let pushback = hints.grpc_pushback();
        let _ = (hints.should_retry(), hints.is_replayed());
        let _ = (Hints::of(&headers).wait(), Hints::of(&headers).quota());

        let (refusal_wait, retry_info) = (hints.refusal_wait(), hints.retry_info());
        prop_assert!(retry_after.is_none() || wait == retry_after, "{:?} for {:?}", wait, retry_after);
        prop_assert!(wait.is_none() || refusal_wait == wait, "{:?} for {:?}", refusal_wait, wait);
        if retry_after.is_none() && retry_info.is_some() {
            prop_assert_eq!(wait, retry_info);
        }
        let mut least = None;
        hints.each_quota(|quota| least = least.into_iter().chain([quota.remaining()]).min());
        prop_assert_eq!(least, quota.map(|quota| quota.remaining()));
        if let Some(Pushback::After(wait)) = pushback {
            prop_assert!(wait <= Duration::from_millis(i32::MAX as u64));
        }
        if quota.is_some() {
            let names = || headers.keys().map(HeaderName::as_str);
            prop_assert!(names().any(|name| name.contains("limit")));
        }
    }

    #[test]
    fn a_wait_needs_a_field_that_states_one(value in value(), received in received()) {
        let mut headers = HeaderMap::new();
        for name in ["x-ratelimit-limit", "ratelimit-policy", "x-ratelimit-used", "x-request-id", "content-length"] {
            headers.insert(name, value.clone());
        }
        prop_assert_eq!(Hints::at(&headers, received).wait(), None);
        prop_assert_eq!(Hints::at(&headers, received).quota(), None);
    }

    // What is more than a year old or a year ahead is no reset.
    #[test]
    fn a_reset_is_never_longer_than_a_year_where_its_unit_had_to_be_guessed(number in any::<u64>(), now in 100_000_000_u32..) {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-reset", number.into());
        let received = UNIX_EPOCH + Duration::from_secs(now.into());
        if let Some(wait) = Hints::at(&headers, received).refusal_wait() {
            prop_assert!(wait <= Duration::from_secs(366 * 86_400 + 1), "{number} at {now}: {wait:?}");
        }
    }

    #[test]
    fn a_delay_is_taken_as_it_is(seconds in 0_u64..=31 * 86_400, received in received()) {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", seconds.into());
        prop_assert_eq!(Hints::at(&headers, received).wait(), Some(Duration::from_secs(seconds)));
    }
}

/// `count` limits with different names, of which the one numbered `used_up` has nothing left for 7 s.
fn limits(count: usize, used_up: usize) -> String {
    let limit = |n| match n == used_up {
        true => format!("l{n};r=0;t=7"),
        false => format!("l{n};r=1;t=9"),
    };
    (0..count).map(limit).collect::<Vec<_>>().join(",")
}

#[test]
fn a_handful_of_limits_is_read_and_a_flood_of_them_costs_nothing() {
    let wait = |limits: &str, lines: usize| {
        let mut headers = HeaderMap::new();
        for _ in 0..lines {
            headers.append("ratelimit", limits.parse().unwrap());
            headers.append("ratelimit-policy", limits.parse().unwrap());
        }
        let hints = Hints::at(&headers, UNIX_EPOCH);
        let _ = hints.quota();
        hints.wait()
    };
    let seven = Some(Duration::from_secs(7));
    assert_eq!(wait(&limits(16, 15), 1), seven);
    assert_eq!(wait(&limits(17, 16), 1), None);
    // Each limit is looked up among the policies: without a bound, this takes hours.
    assert_eq!(wait(&limits(30_000, 29_999), 1), None);
    assert_eq!(wait(&limits(60, 59), 100), None);
    assert_eq!(wait(&limits(16, 15), 100), seven);
}

#[test]
fn what_is_longer_than_any_such_field_is_passed_over() {
    let wait = |zeros: usize| {
        let mut headers = HeaderMap::new();
        headers.insert(
            "retry-after",
            format!("{}5", "0".repeat(zeros)).parse().unwrap(),
        );
        Hints::at(&headers, UNIX_EPOCH).wait()
    };
    assert_eq!(wait(1023), Some(Duration::from_secs(5)));
    assert_eq!(wait(1024), None);
}
