//! Whatever a server writes into its header fields, no wait exceeds the caps, and nothing panics.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::time::Duration;

use bytes::Bytes;
use courteous::{Stack, retry::RetryInfo};
use courteous_testkit::{Probe, Reply};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::time::Instant;
use tower::ServiceExt;

const FIELDS: &[&str] = &[
    "age",
    "anthropic-ratelimit-requests-reset",
    "content-type",
    "date",
    "grpc-retry-pushback-ms",
    "grpc-status",
    "idempotent-replayed",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "retry-after-ms",
    "x-rate-limit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-should-retry",
];

/// Values that nearly mean something, and values that mean nothing.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let near =
        "(-|\\+)?[0-9]{0,40}(\\.[0-9]{0,20})?(s|ms|m|h|e9|\"|;r=0;t=|T|:|,| GMT)?[0-9]{0,25}";
    let dates = "(Sun|Fri), [0-9]{2} (Nov|Feb) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT";
    let words = [
        "inf",
        "nan",
        "true",
        "false",
        "application/grpc",
        "14",
        "\"a\";r=0;t=9999999999",
    ];
    prop_oneof![
        near.prop_map(String::into_bytes),
        dates.prop_map(String::into_bytes),
        select(words.map(|word| word.as_bytes().to_vec()).to_vec()),
        vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_makes_a_call_wait_beyond_the_caps(
        status in select(vec![200_u16, 403, 429, 500, 503]),
        fields in vec((select(FIELDS.to_vec()), value()), 0..6),
    ) {
        let mut response = Response::builder().status(status).body(courteous_testkit::TestBody::new()).unwrap();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let forever = Duration::MAX;
            let probe = Probe::new().replies([Reply::response(response)]);
            let client = Stack::new().with_total_timeout(forever).build().unwrap().layer(probe.clone());
            let get = || Request::get("http://api.test/").body(Full::<Bytes>::default()).unwrap();

            // The retry's own waits: 60 s in total, whatever the server asks for.
            let start = Instant::now();
            let waited = match client.clone().oneshot(get()).await {
                Ok(response) => RetryInfo::of(&response).waited(),
                Err(error) => {
                    prop_assert!(error.is_rejected(), "{error}");
                    Duration::ZERO
                }
            };
            prop_assert!(waited <= Duration::from_secs(60), "{waited:?}");
            prop_assert!(start.elapsed() <= Duration::from_secs(61), "{:?}", start.elapsed());

            // A rejection closes the origin for a day at most, and a quota for 5 minutes. Jitter
            // adds up to a second.
            let cap = if status >= 400 { 24 * 60 * 60 } else { 5 * 60 };
            tokio::time::sleep(Duration::from_secs(cap + 1)).await;
            let start = Instant::now();
            prop_assert!(client.oneshot(get()).await.is_ok());
            prop_assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
            Ok(())
        })?;
    }
}
