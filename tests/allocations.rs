//! The exact number of heap allocations that each layer adds to a call that neither waits nor
//! fails.
//!
//! *Floor*: a long-lived service over an inner service that is ready and answers at once, and a
//! request without header fields or body. *Realistic*: a service cloned for each call, an inner
//! service that is pending once, and a `POST` with 4 header fields and a body of 128 bytes, of
//! static bytes. *Owned*: like *realistic*, but all bytes were just made, so that their first clone
//! allocates. Run with `--nocapture` to see the table.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    alloc::System,
    convert::Infallible,
    num::NonZeroU32,
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use courteous::{BoxClient, client::CloseLayer};
use courteous_concurrency::{
    self as concurrency, ConcurrencyLimitLayer, PerOrigin as PerOriginLimiters,
};
use courteous_core::{CallContext, CallRecord, OriginHashes, RequestView};
use courteous_idempotency::IdempotencyKeyLayer;
use courteous_retry::RetryLayer;
use courteous_throttle::{self as throttle, PerOrigin, Rate, ThrottleLayer};
use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{Empty, Full};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower_layer::{Identity, Layer, Stack};
use tower_service::Service;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Each test holds this lock, as another test's allocations would be counted, too.
static ALONE: Mutex<()> = Mutex::new(());

/// Allocates nothing.
#[derive(Clone, Debug)]
struct Inner {
    pending: bool,
}

#[derive(Debug)]
struct Answer {
    pending: bool,
}

impl<B> Service<Request<B>> for Inner {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Answer {
        Answer {
            pending: self.pending,
        }
    }
}

impl Future for Answer {
    type Output = Result<Response<Empty<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.pending {
            self.pending = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(Response::new(Empty::new())))
    }
}

fn floor_request() -> Request<Full<Bytes>> {
    Request::new(Full::default())
}

/// The fields, the URI and the body that a client sends with each call.
fn realistic_request() -> Request<Full<Bytes>> {
    static BODY: [u8; 128] = [b'x'; 128];
    let mut request = Request::new(Full::from(Bytes::from_static(&BODY)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("http://api.test/v1/charges");
    for (name, value) in [
        (header::ACCEPT, "application/json"),
        (header::AUTHORIZATION, "Bearer token"),
        (header::CONTENT_TYPE, "application/json"),
        (header::USER_AGENT, "test"),
    ] {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    request
}

fn owned_request() -> Request<Full<Bytes>> {
    let text = |value: &str| HeaderValue::try_from(value.to_owned()).unwrap();
    let uri: Uri = "http://api.test/v1/charges".to_owned().try_into().unwrap();
    let body = Full::from(vec![b'x'; 128]);
    let (mut parts, body) = realistic_request().map(|_| body).into_parts();
    parts.uri = uri;
    for value in parts.headers.values_mut() {
        *value = text(value.to_str().unwrap());
    }
    Request::from_parts(parts, body)
}

/// A request with a record, which was made before, as a layer outside does.
fn recorded<const OWNED: bool>() -> Request<Full<Bytes>> {
    let mut request = match OWNED {
        true => owned_request(),
        false => realistic_request(),
    };
    CallRecord::of_or_insert(request.extensions_mut());
    request
}

/// The allocations of one call; the request and the service are made before. The result is the
/// least of many runs, as the test's other threads may allocate.
fn allocations<S, RB>(service: &S, clone: bool, request: fn() -> Request<Full<Bytes>>) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = Response<RB>> + Clone,
{
    let mut long_lived = service.clone();
    (0..100)
        .map(|_| {
            let request = request();
            let mut cx = Context::from_waker(Waker::noop());
            let region = Region::new(ALLOCATOR);
            let mut cloned = clone.then(|| service.clone());
            let service = cloned.as_mut().unwrap_or(&mut long_lived);
            assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
            let mut call = pin!(service.call(request));
            let response = loop {
                if let Poll::Ready(response) = call.as_mut().poll(&mut cx) {
                    break response;
                }
            };
            assert!(response.is_ok());
            drop(response);
            let change = region.change();
            change.allocations + change.reallocations
        })
        .min()
        .unwrap_or(usize::MAX)
}

/// The allocations of one call that `send` makes with a client, counted as in [`allocations`].
fn sent<F, T>(
    mut send: impl FnMut(Request<Full<Bytes>>) -> F,
    request: fn() -> Request<Full<Bytes>>,
) -> usize
where
    F: Future<Output = Result<T, courteous::Error>>,
{
    (0..100)
        .map(|_| {
            let request = request();
            let mut cx = Context::from_waker(Waker::noop());
            let region = Region::new(ALLOCATOR);
            let mut call = pin!(send(request));
            let response = loop {
                if let Poll::Ready(response) = call.as_mut().poll(&mut cx) {
                    break response;
                }
            };
            assert!(response.is_ok());
            drop(response);
            let change = region.change();
            change.allocations + change.reallocations
        })
        .min()
        .unwrap_or(usize::MAX)
}

/// The allocations that `layer` adds to a call with a record: in the realistic case, and with a
/// request of owned bytes.
fn added_with_record<L, S, RB>(layer: &L) -> [usize; 2]
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<Full<Bytes>>, Response = Response<RB>> + Clone,
{
    let service = layer.layer(Inner { pending: true });
    [
        allocations(&service, true, recorded::<false>),
        allocations(&service, true, recorded::<true>),
    ]
}

/// The allocations that `layer` adds: at the floor, in the realistic case, and with a request of
/// owned bytes.
fn added<L, S, RB>(layer: &L) -> [usize; 3]
where
    L: Layer<Inner, Service = S>,
    S: Service<Request<Full<Bytes>>, Response = Response<RB>> + Clone,
{
    let (floor, realistic) = (Inner { pending: false }, Inner { pending: true });
    assert_eq!(allocations(&floor, false, floor_request), 0);
    assert_eq!(allocations(&realistic, true, realistic_request), 0);
    let (floor, realistic) = (layer.layer(floor), layer.layer(realistic));
    [
        allocations(&floor, false, floor_request),
        allocations(&realistic, true, realistic_request),
        allocations(&realistic, true, owned_request),
    ]
}

#[test]
fn a_call_that_neither_waits_nor_fails_allocates_exactly_this_often() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let idempotency_key = IdempotencyKeyLayer::new();
    let total_timeout = TotalTimeoutLayer::new(Duration::from_secs(30));
    let retry = RetryLayer::new();
    let concurrency_limit = ConcurrencyLimitLayer::new(64).unwrap();
    let rate = Rate::new(1_000_000, Duration::from_secs(1)).unwrap();
    let throttle = ThrottleLayer::new(rate.with_burst(const { NonZeroU32::new(10_000).unwrap() }));
    let attempt_timeout = AttemptTimeoutLayer::new(Duration::from_secs(5));
    let all = Stack::new(
        Stack::new(
            Stack::new(attempt_timeout.clone(), throttle.clone()),
            Stack::new(concurrency_limit.clone(), retry.clone()),
        ),
        Stack::new(total_timeout.clone(), idempotency_key.clone()),
    );
    let table = [
        ("nothing", added(&Identity::new()), [0, 0, 0]),
        // The key and its claim: the claim is shared, and is an entry in an empty map.
        ("idempotency key", added(&idempotency_key), [0, 5, 5]),
        // The context's entry in an empty map.
        ("total timeout", added(&total_timeout), [3, 3, 3]),
        // The snapshot of header fields, and the context of the attempt. If owned, also the first
        // clone of the body.
        ("retry", added(&retry), [3, 4, 5]),
        ("concurrency limit", added(&concurrency_limit), [0, 0, 0]),
        ("throttle", added(&throttle), [0, 0, 0]),
        ("attempt timeout", added(&attempt_timeout), [0, 0, 0]),
        ("close", added(&CloseLayer::new()), [0, 0, 0]),
        // One context for all layers, which is not copied with the snapshot.
        ("all six", added(&all), [3, 7, 8]),
    ];
    // With a record, its map holds the claim and the context, too, and is not copied with the
    // snapshot: two allocations less for the first of them, and none more.
    let with_record = [
        ("nothing", added_with_record(&Identity::new()), [0, 0]),
        (
            "idempotency key",
            added_with_record(&idempotency_key),
            [3, 3],
        ),
        ("total timeout", added_with_record(&total_timeout), [1, 1]),
        ("retry", added_with_record(&retry), [2, 3]),
        (
            "concurrency limit",
            added_with_record(&concurrency_limit),
            [0, 0],
        ),
        ("throttle", added_with_record(&throttle), [0, 0]),
        (
            "attempt timeout",
            added_with_record(&attempt_timeout),
            [0, 0],
        ),
        ("close", added_with_record(&CloseLayer::new()), [0, 0]),
        ("all six", added_with_record(&all), [5, 6]),
    ];
    println!("| allocations added by | floor | realistic | owned |\n|---|---:|---:|---:|");
    for (name, [floor, realistic, owned], _) in table {
        println!("| {name} | {floor} | {realistic} | {owned} |");
    }
    for (name, measured, expected) in table {
        assert_eq!(measured, expected, "{name}: [floor, realistic, owned]");
    }
    println!("| with a record | realistic | owned |\n|---|---:|---:|");
    for (name, [realistic, owned], _) in with_record {
        println!("| {name} | {realistic} | {owned} |");
    }
    for (name, measured, expected) in with_record {
        assert_eq!(
            measured, expected,
            "{name}, with a record: [realistic, owned]"
        );
    }
}

/// The allocations of `change`.
fn counted<T>(mut change: impl FnMut() -> T) -> usize {
    let runs = (0..100).map(|_| {
        let region = Region::new(ALLOCATOR);
        let value = change();
        let change = region.change();
        drop(value);
        change.allocations + change.reallocations
    });
    runs.min().unwrap_or(usize::MAX)
}

#[test]
fn a_record_costs_two_allocations_and_four_if_it_is_the_first_extension() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(counted(CallRecord::new), 1);
    let first = || CallRecord::of_or_insert(floor_request().extensions_mut());
    assert_eq!(counted(first), 4);
    let with_context = || {
        let mut request = floor_request();
        CallContext::edit(request.extensions_mut());
        request
    };
    let both = || CallRecord::of_or_insert(with_context().extensions_mut());
    assert_eq!(counted(both) - counted(with_context), 2);
    let record = CallRecord::new();
    assert_eq!(counted(|| record.clone()), 0);
    // Neither attempts nor sends allocate; the first failure does, for the history.
    let counts = || {
        record.begin_attempt();
        record.sent()
    };
    assert_eq!(counted(counts), 0);
}

#[test]
fn a_sent_call_allocates_nothing_more_and_a_boxed_client_twice() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let client = courteous::Stack::new().build().unwrap();
    let client = client.layer(Inner { pending: true });
    let boxed = client.clone().boxed();
    for request in [floor_request, realistic_request, owned_request] {
        let called = allocations(&client, true, request);
        assert_eq!(sent(|request| client.send(request), request), called);
        // The future, and the body of the response.
        assert_eq!(sent(|request| boxed.send(request), request), called + 2);
    }
    let mock = BoxClient::from_fn(async |request: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    assert_eq!(sent(|request| mock.send(request), floor_request), 2);
}

/// Looks up the limits of each request, as the layers do, and drops what it finds.
fn look_up(requests: &mut [Request<()>], limiters: &PerOriginLimiters, buckets: &PerOrigin) {
    for request in requests {
        let hashes = OriginHashes::of(request.extensions().get());
        let head = RequestView::of(request).with_hashes(&hashes);
        drop(concurrency::Partition::select(limiters, head));
        drop(throttle::Partition::select(buckets, head));
        hashes.carry(request.extensions_mut());
    }
}

#[test]
fn a_look_up_of_a_known_origin_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limiters = concurrency::Keyed::per_origin(concurrency::Limiter::new(64).unwrap());
    let buckets = throttle::Keyed::per_origin(throttle::Bucket::new(Rate::UNLIMITED));
    let to = |uri: String, host: Option<String>| {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        request.body(()).unwrap()
    };
    let requests = || -> Vec<_> {
        let mut requests = Vec::new();
        for server in 0..8 {
            requests.push(to(format!("https://api-{server}.test:8443/a"), None));
            // The same origins, spelled otherwise.
            requests.push(to(format!("https://u:p@API-{server}.test.:8443/b"), None));
            requests.push(to(format!("http://127.0.0.{server}/"), None));
            requests.push(to("/a".to_owned(), Some(format!("api-{server}.test"))));
        }
        requests
    };
    look_up(&mut requests(), &limiters, &buckets);
    assert_eq!((limiters.len(), buckets.len()), (24, 24));
    let allocations = |with_context: bool| {
        let runs = (0..100).map(|_| {
            let mut requests = requests();
            for request in &mut requests {
                if with_context {
                    CallContext::edit(request.extensions_mut());
                }
            }
            let region = Region::new(ALLOCATOR);
            look_up(&mut requests, &limiters, &buckets);
            let change = region.change();
            change.allocations + change.reallocations
        });
        runs.min()
    };
    assert_eq!(allocations(true), Some(0));
    assert_eq!(allocations(false), Some(0));
}
