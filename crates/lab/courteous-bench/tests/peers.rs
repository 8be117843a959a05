//! What the guide's pages about peers say of them. Each fact is shown on both sides.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    convert::Infallible,
    future::ready,
    num::{NonZeroU32, NonZeroUsize},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use bytes::Bytes;
use courteous::{
    Courteous, Stack,
    concurrency::ConcurrencyLimitLayer,
    idempotency::{Generator, IdempotencyKeyLayer, RandomUuid},
    reqwest::{PoliteMiddleware, ReqwestService},
    retry::RetryInfo,
    throttle::{Bucket, Rate},
};
use courteous_testkit::{Probe, Reply, TestBody};
use governor::{Quota, RateLimiter};
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Next};
use reqwest_retry::{RetryTransientMiddleware, policies::ExponentialBackoff};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, ServiceExt, load_shed::LoadShed, service_fn};
use tower_governor::{
    GovernorLayer,
    governor::GovernorConfigBuilder,
    key_extractor::{GlobalKeyExtractor, KeyExtractor, PeerIpKeyExtractor},
};

const URL: &str = "http://api.test/";
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// When a server was called.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Instant>>>);

impl Calls {
    fn note(&self) {
        self.0.lock().unwrap().push(Instant::now());
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn first_wait(&self) -> Duration {
        let calls = self.0.lock().unwrap();
        calls[1] - calls[0]
    }
}

type Answer<'a> =
    Pin<Box<dyn Future<Output = reqwest_middleware::Result<reqwest::Response>> + Send + 'a>>;

/// Says for which lifetimes `answer` is a middleware, which a closure alone does not.
fn middleware<F>(answer: F) -> F
where
    F: for<'a> Fn(reqwest::Request, &'a mut http::Extensions, Next<'a>) -> Answer<'a>,
{
    answer
}

/// reqwest with reqwest-retry's two retries, around a server that always gives this answer.
fn theirs(status: u16, retry_after: &'static str) -> (ClientWithMiddleware, Calls) {
    let calls = Calls::default();
    let seen = calls.clone();
    let server = middleware(move |_, _, _| {
        seen.note();
        let response = Response::builder().status(status);
        let response = response.header("retry-after", retry_after).body("");
        Box::pin(ready(Ok(response.unwrap().into())))
    });
    let policy = ExponentialBackoff::builder().build_with_max_retries(2);
    let retry = RetryTransientMiddleware::new_with_policy(policy);
    let client = ClientBuilder::new(reqwest::Client::new()).with(retry);
    (client.with(server).build(), calls)
}

/// The standard stack around a server that always gives this answer.
fn ours(status: u16, retry_after: &'static str) -> (Courteous<Probe>, Probe) {
    let answer = move |_: &_| Reply::status(status).header("retry-after", retry_after);
    let probe = Probe::new().otherwise(answer);
    let client = Stack::new().build().unwrap().layer(probe.clone());
    (client, probe)
}

fn get() -> Request<Full<Bytes>> {
    Request::get(URL).body(Full::default()).unwrap()
}

fn post() -> Request<Full<Bytes>> {
    Request::post(URL).body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn reqwest_retry_repeats_a_post_that_may_have_been_processed() {
    let (client, calls) = theirs(500, "0");
    assert_eq!(client.post(URL).send().await.unwrap().status(), 500);
    assert_eq!(calls.count(), 3);

    let (client, probe) = ours(500, "not a time");
    assert_eq!(client.send(post()).await.unwrap().status(), 500);
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn reqwest_retry_repeats_what_fails_for_good() {
    for status in [501, 505] {
        let (client, calls) = theirs(status, "0");
        assert_eq!(client.get(URL).send().await.unwrap().status(), status);
        assert_eq!(calls.count(), 3);

        let (client, probe) = ours(status, "not a time");
        assert_eq!(client.send(get()).await.unwrap().status(), status);
        assert_eq!(probe.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn reqwest_retry_comes_back_before_the_time_that_the_server_has_named() {
    for status in [429, 503] {
        let (client, calls) = theirs(status, "7");
        client.get(URL).send().await.unwrap();
        assert_eq!(calls.count(), 3);
        assert!(calls.first_wait() <= SECOND + Duration::from_millis(10));

        let (client, probe) = ours(status, "7");
        client.send(get()).await.unwrap();
        let wait = probe.instants()[1] - probe.instants()[0];
        assert!(7 * SECOND <= wait && wait <= 8 * SECOND, "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reqwest_retry_has_no_budget() {
    let (client, calls) = theirs(500, "0");
    for _ in 0..100 {
        client.get(URL).send().await.unwrap();
    }
    assert_eq!(calls.count(), 300);

    let (client, probe) = ours(500, "not a time");
    for _ in 0..100 {
        client.send(get()).await.unwrap();
    }
    assert_eq!(probe.calls(), 108);
}

#[tokio::test(start_paused = true)]
async fn reqwest_retry_does_not_send_a_body_that_streams() {
    let streaming = || reqwest::Body::wrap(TestBody::new().chunk("part").chunk("part"));
    let (client, calls) = theirs(200, "0");
    let error = client.put(URL).body(streaming()).send().await.unwrap_err();
    assert!(error.is_middleware(), "{error}");
    assert_eq!(calls.count(), 0);

    let probe = Probe::new().reading_bodies();
    let probe = probe.replies([Reply::status(502)]);
    let client = Stack::new().build().unwrap().layer(probe.clone());
    let request = Request::put(URL).body(streaming()).unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 2);
}

/// A stack as a middleware in front of this one.
fn ours_as_middleware(then: impl reqwest_middleware::Middleware) -> ClientWithMiddleware {
    let polite = Stack::new()
        .build()
        .unwrap()
        .layer(ReqwestService::default());
    let client = ClientBuilder::new(reqwest::Client::new()).with(PoliteMiddleware::new(polite));
    client.with(then).build()
}

fn theirs_around(then: impl reqwest_middleware::Middleware) -> ClientWithMiddleware {
    let policy = ExponentialBackoff::builder().build_with_max_retries(2);
    let retry = RetryTransientMiddleware::new_with_policy(policy);
    let client = ClientBuilder::new(reqwest::Client::new()).with(retry);
    client.with(then).build()
}

#[tokio::test(start_paused = true)]
async fn a_requests_timeout_is_each_attempts_with_reqwest_retry_and_the_calls_with_us() {
    let timeouts = Arc::new(Mutex::new(Vec::new()));
    let server = || {
        let timeouts = Arc::clone(&timeouts);
        middleware(move |request, _, _| {
            timeouts.lock().unwrap().push(request.timeout().copied());
            Box::pin(ready(Ok(Response::builder()
                .status(500)
                .body("")
                .unwrap()
                .into())))
        })
    };
    let client = theirs_around(server());
    client.get(URL).timeout(HOUR).send().await.unwrap();
    assert_eq!(
        std::mem::take(&mut *timeouts.lock().unwrap()),
        [Some(HOUR); 3]
    );

    let client = ours_as_middleware(server());
    client.get(URL).timeout(HOUR).send().await.unwrap();
    assert_eq!(std::mem::take(&mut *timeouts.lock().unwrap()), [None; 3]);
}

#[tokio::test]
async fn the_error_without_a_response_is_always_ours() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let pass = || middleware(|request, extensions, next| next.run(request, extensions));

    let alone = ClientBuilder::new(reqwest::Client::new())
        .with(pass())
        .build();
    let error = alone.get(&url).send().await.unwrap_err();
    assert!(matches!(error, reqwest_middleware::Error::Reqwest(error) if error.is_connect()));

    let error = ours_as_middleware(pass())
        .get(&url)
        .send()
        .await
        .unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else {
        panic!("{error:?}");
    };
    let error: &courteous::Error = error.downcast_ref().unwrap();
    assert!(error.find::<reqwest::Error>().unwrap().is_connect());
}

#[tokio::test(start_paused = true)]
async fn load_shed_outside_of_our_limit_sheds_nothing_and_fail_fast_does() {
    let limit = NonZeroUsize::new(1).unwrap();
    let busy = || {
        service_fn(async |_: Request<Full<Bytes>>| {
            sleep(2 * HOUR).await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        })
    };

    let towers = tower::limit::ConcurrencyLimitLayer::new(1).layer(busy());
    tokio::spawn(towers.clone().oneshot(get()));
    tokio::task::yield_now().await;
    let shed = LoadShed::new(towers).oneshot(get()).await;
    assert!(shed.is_err(), "overloaded");

    let ours = ConcurrencyLimitLayer::from(limit).layer(busy());
    tokio::spawn(ours.clone().oneshot(get()));
    tokio::task::yield_now().await;
    let waiting = timeout(HOUR, LoadShed::new(ours).oneshot(get()));
    assert!(waiting.await.is_err(), "it waits");

    let ours = ConcurrencyLimitLayer::from(limit).fail_fast().layer(busy());
    tokio::spawn(ours.clone().oneshot(get()));
    tokio::task::yield_now().await;
    assert!(ours.oneshot(get()).await.is_err(), "rejected");
}

#[tokio::test(start_paused = true)]
async fn backon_makes_four_attempts_after_fixed_waits_whatever_the_error_is() {
    let calls = Calls::default();
    let start = Instant::now();
    let attempt = async || {
        calls.note();
        Err::<(), _>("a bad certificate")
    };
    let result = attempt.retry(ExponentialBuilder::default()).await;
    assert_eq!((calls.count(), result.is_err()), (4, true));
    assert_eq!(start.elapsed(), 7 * SECOND, "1 s, 2 s and 4 s");

    let mut waits = ExponentialBuilder::default().with_jitter().build();
    let first = waits.next().unwrap();
    assert!(SECOND <= first && first <= 2 * SECOND, "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_makes_its_request_afresh_makes_a_fresh_key_and_our_layer_does_not() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let attempt = async || {
        let request = post();
        let drawn = RandomUuid.key(courteous::core::RequestView::of(&request));
        keys.lock().unwrap().push(drawn.unwrap());
        Err::<(), _>("lost")
    };
    let backoff = ExponentialBuilder::default().with_max_times(1);
    assert!(attempt.retry(backoff).await.is_err());
    let keys = keys.lock().unwrap().clone();
    assert!(keys[0].is_some() && keys[0] != keys[1]);

    let probe = Probe::new().replies([Reply::error()]);
    let stack = Stack::new().with_idempotency_key(IdempotencyKeyLayer::new());
    let client = stack.build().unwrap().layer(probe.clone());
    client.send(post()).await.unwrap();
    let name = HeaderName::from_static("idempotency-key");
    let sent: Vec<_> = probe
        .seen()
        .iter()
        .map(|seen| seen.headers.get(&name).cloned())
        .collect();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].is_some() && sent[0] == sent[1]);
}

#[test]
fn governors_burst_is_a_whole_seconds_quota_and_ours_is_two() {
    let limiter = RateLimiter::direct(Quota::per_second(NonZeroU32::new(25).unwrap()));
    let passed = (0..100).take_while(|_| limiter.check().is_ok()).count();
    assert!(passed >= 25, "{passed}");

    let rate: Rate = "25/s".parse().unwrap();
    assert_eq!(Bucket::new(rate).available(), 2);
}

#[tokio::test(start_paused = true)]
async fn tokios_paused_clock_moves_our_bucket_and_not_governors() {
    let quota = Quota::with_period(HOUR).unwrap();
    let limiter = RateLimiter::direct(quota);
    assert!(limiter.check().is_ok());
    let bucket = Bucket::new("1/h".parse().unwrap()).start_empty();
    advance(2 * HOUR).await;
    assert!(limiter.check().is_err());
    assert_eq!(bucket.available(), 1);
}

/// tower-governor's layer around a server, asked three times.
async fn governed<K: KeyExtractor>(key: K, period: Duration) -> Vec<Response<Body>>
where
    K::Key: Send + Sync + 'static,
{
    let mut config = GovernorConfigBuilder::default();
    let config = config
        .period(period)
        .burst_size(1)
        .key_extractor(key)
        .finish();
    let layer = GovernorLayer::new(config.unwrap());
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let mut responses = Vec::new();
    for _ in 0..3 {
        responses.push(service.clone().oneshot(Request::new(())).await.unwrap());
    }
    responses
}

#[tokio::test]
async fn tower_governor_makes_a_response_up_and_takes_no_request_that_goes_out() {
    let statuses = |responses: &[Response<Body>]| -> Vec<_> {
        responses.iter().map(Response::status).collect()
    };
    let limited = governed(GlobalKeyExtractor, HOUR).await;
    let (ok, limit) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(statuses(&limited), [ok, limit, limit]);
    assert!(limited[1].headers().contains_key("retry-after"));

    // Below a second, the time to wait is rounded down to nothing.
    let limited = governed(GlobalKeyExtractor, Duration::from_millis(999)).await;
    assert_eq!(limited[1].headers()["retry-after"], "0");

    let by_peer = governed(PeerIpKeyExtractor, HOUR).await;
    assert_eq!(by_peer[0].status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn per_second_of_tower_governor_is_a_number_of_seconds() {
    let mut config = GovernorConfigBuilder::default();
    let config = config
        .per_second(25)
        .burst_size(1)
        .key_extractor(GlobalKeyExtractor);
    let limiter = { config }.finish().unwrap();
    assert!(limiter.limiter().check_key(&()).is_ok());
    let later = limiter.limiter().check_key(&()).unwrap_err();
    assert_eq!(later.quota().replenish_interval(), 25 * SECOND);

    let rate: Rate = "25/s".parse().unwrap();
    assert_eq!(rate.interval(), Duration::from_millis(40));
}
