//! Layers that keep something for each origin, stacked: they share one hash of it, and never each
//! other's state, whatever happens to the URI in between.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    collections::HashMap,
    convert::Infallible,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use courteous_backoff::Backoff;
use courteous_concurrency::{self as concurrency, ConcurrencyLimitLayer, HoldUntil, Limiter};
use courteous_core::{CallContext, LogicalOrigin, Origin, OriginHash, RequestView};
use courteous_idempotency::IdempotencyKeyLayer;
use courteous_retry::RetryLayer;
use courteous_throttle::{self as throttle, Bucket, Rate, ThrottleLayer};
use courteous_timeout::TotalTimeoutLayer;
use http::{Request, Response};
use http_body_util::Full;
use proptest::{collection::vec, prelude::*};
use tower::{ServiceBuilder, ServiceExt, service_fn};

type Body = Full<Bytes>;

const BURST: u32 = 10_000;

fn to(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

fn origin(uri: &str) -> Origin {
    RequestView::of(&to(uri)).origin()
}

/// A bucket for each origin, to which no token comes back in time.
fn buckets() -> throttle::PerOrigin {
    let rate = Rate::new(1, Duration::from_secs(86_400)).unwrap();
    let rate = rate.with_burst(NonZeroU32::new(BURST).unwrap());
    throttle::Keyed::per_origin(Bucket::new(rate))
}

/// How many tokens were taken for the origin.
fn taken(buckets: &throttle::PerOrigin, origin: &Origin) -> u32 {
    let bucket = buckets.get(origin);
    bucket.map_or(0, |bucket| BURST - bucket.available())
}

/// Changes the URI to that of the header field, as a follower of redirects does.
fn redirected(mut request: Request<Body>, field: &str) -> Request<Body> {
    if let Some(uri) = request.headers().get(field) {
        *request.uri_mut() = uri.to_str().unwrap().parse().unwrap();
    }
    request
}

/// Spellings of four origins.
const URIS: [&str; 8] = [
    "http://a.test/1",
    "http://A.test.:80/2",
    "http://b.test/",
    "http://u@b.TEST/",
    "https://a.test/",
    "https://a.test:443/a?b",
    "http://127.0.0.1:8080/",
    "http://127.1:8080/",
];

/// A call for the first URI, which two layers may each change to another one.
fn call() -> impl Strategy<Value = (usize, Option<usize>, Option<usize>)> {
    let uri = || 0..URIS.len();
    (uri(), prop::option::of(uri()), prop::option::of(uri()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The hash that the outer layer makes is that of another origin in the inner ones.
    #[test]
    fn no_layer_finds_the_state_of_another_origin(
        calls in vec(call(), 1..60),
        has_context in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(check_origins(calls, has_context));
    }
}

async fn check_origins(calls: Vec<(usize, Option<usize>, Option<usize>)>, has_context: bool) {
    let all = [buckets(), buckets(), buckets()];
    let limiters = concurrency::Keyed::per_origin(Limiter::new(1).unwrap());
    let client = ServiceBuilder::new()
        .layer(ThrottleLayer::of(all[0].clone()))
        .map_request(|request| redirected(request, "first"))
        .layer(ConcurrencyLimitLayer::of(limiters.clone()).hold_until(HoldUntil::Headers))
        .layer(ThrottleLayer::of(all[1].clone()))
        .map_request(|request| redirected(request, "second"))
        .layer(ThrottleLayer::of(all[2].clone()))
        .service(service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new(Body::default()))
        }));
    let mut expected = [(); 3].map(|()| HashMap::<Origin, u32>::new());
    for (own, first, second) in calls {
        let mut request = to(URIS[own]);
        if has_context {
            CallContext::edit(request.extensions_mut());
        }
        for (field, uri) in [("first", first), ("second", second)] {
            if let Some(uri) = uri {
                let uri = URIS[uri].parse().unwrap();
                request.headers_mut().insert(field, uri);
            }
        }
        let first = first.unwrap_or(own);
        let second = second.unwrap_or(first);
        for (expected, uri) in expected.iter_mut().zip([own, first, second]) {
            *expected.entry(origin(URIS[uri])).or_default() += 1;
        }
        client.clone().oneshot(request).await.unwrap();
    }
    for (buckets, expected) in all.iter().zip(expected) {
        assert_eq!(buckets.len(), expected.len());
        for (origin, calls) in expected {
            assert_eq!(taken(buckets, &origin), calls, "{origin}");
        }
    }
    assert_eq!(limiters.in_flight(), 0);
}

/// Sends each attempt to the next of three servers.
fn endpoints() -> impl Fn(Request<Body>) -> Request<Body> + Clone {
    let next = Arc::new(Mutex::new(0));
    move |mut request| {
        let mut next = next.lock().unwrap();
        *next = *next % 3 + 1;
        let uri = format!("http://eu-{next}.test{}", request.uri().path());
        LogicalOrigin::rewrite(&mut request, uri.parse().unwrap());
        request
    }
}

#[tokio::test(start_paused = true)]
async fn three_servers_of_a_service_share_its_tokens_and_have_limits_of_their_own() {
    let buckets = buckets();
    let limiters = concurrency::Keyed::per_origin(Limiter::new(1).unwrap());
    let client = ServiceBuilder::new()
        .layer(TotalTimeoutLayer::new(Duration::from_secs(60)))
        .map_request(endpoints())
        .layer(ConcurrencyLimitLayer::of(limiters.clone()))
        .layer(ThrottleLayer::of(buckets.clone()))
        .service(service_fn(async |request: Request<Body>| {
            let view = RequestView::of(&request);
            assert_eq!(view.origin(), origin("http://api.test"));
            // Each origin has its own hash.
            let context = CallContext::of(request.extensions());
            for (hash, origin) in [
                (context.origin_hash(), view.origin()),
                (context.wire_origin_hash(), view.wire_origin()),
            ] {
                assert!(hash.is_none_or(|hash| hash == OriginHash::of(&origin)));
            }
            Ok::<_, Infallible>(Response::new(Body::from("kept")))
        }));
    let mut kept = Vec::new();
    for _ in 0..3 {
        let call = client.clone().oneshot(to("http://api.test/a"));
        kept.push(call.await.unwrap());
    }
    assert_eq!((limiters.len(), limiters.in_flight()), (3, 3));
    for server in 1..4 {
        let limiter = limiters.get(&origin(&format!("http://eu-{server}.test")));
        assert_eq!(limiter.unwrap().in_flight(), 1);
    }
    assert_eq!(buckets.len(), 1);
    assert_eq!(taken(&buckets, &origin("http://api.test")), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_one_server_closes_the_service_whose_quota_it_is() {
    let buckets = buckets();
    let client = ServiceBuilder::new()
        .map_request(endpoints())
        .layer(ThrottleLayer::of(buckets.clone()))
        .service(service_fn(async |_: Request<Body>| {
            let refused = Response::builder().status(429).header("retry-after", "60");
            Ok::<_, Infallible>(refused.body(Body::default()).unwrap())
        }));
    client.oneshot(to("http://api.test/a")).await.unwrap();
    let bucket = buckets.get(&origin("http://api.test")).unwrap();
    assert!(bucket.closed_until().is_some());
    assert_eq!(buckets.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_goes_where_the_request_of_the_caller_may_have_one() {
    for (host, has_key) in [("api.test", true), ("eu-1.test", false)] {
        let client = ServiceBuilder::new()
            .map_request(endpoints())
            .layer(IdempotencyKeyLayer::new().with_hosts([host]).unwrap())
            .service(service_fn(async |request: Request<Body>| {
                let key = request.headers().get("idempotency-key");
                Ok::<_, Infallible>(Response::new(key.is_some()))
            }));
        let post = Request::post("http://api.test/a").body(Body::default());
        let response = client.oneshot(post.unwrap()).await.unwrap();
        assert_eq!(response.into_body(), has_key, "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_carries_the_hash_that_was_made_outside_of_the_retry() {
    let (outside, inside) = (buckets(), buckets());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let carried = Arc::clone(&seen);
    let client = ServiceBuilder::new()
        .layer(TotalTimeoutLayer::new(Duration::from_secs(60)))
        .layer(ThrottleLayer::of(outside.clone()))
        .layer(RetryLayer::new().with_backoff(Backoff::constant(Duration::from_secs(1))))
        .map_request(move |request: Request<Body>| {
            let hash = CallContext::of(request.extensions()).origin_hash();
            carried.lock().unwrap().push(hash);
            request
        })
        .layer(ThrottleLayer::of(inside.clone()))
        .service(service_fn(async |_: Request<Body>| {
            let ill = Response::builder().status(503).body(Body::default());
            Ok::<_, Infallible>(ill.unwrap())
        }));
    for uri in ["http://a.test/", "http://b.test/"] {
        let response = client.clone().oneshot(to(uri)).await.unwrap();
        assert_eq!(response.status(), 503);
        let hash = OriginHash::of(&origin(uri));
        assert_eq!(seen.lock().unwrap().split_off(0), [Some(hash); 3]);
        let tokens = [&outside, &inside].map(|buckets| taken(buckets, &origin(uri)));
        assert_eq!(tokens, [1, 3]);
    }
}
