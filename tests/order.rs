//! The order of layers has a meaning. For each two neighbours of the recommended order, a test
//! shows what swapping them does.
//!
//! key > dead letter > total timeout > retry > concurrency limit > throttle > attempt timeout
//!
//! The statements about the first three are shown in courteous-dead-letter, next to the store of
//! its letters.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod parts;

use std::{future::poll_fn, task::Poll, time::Duration};

use bytes::Bytes;
use courteous_core::{BoxError, Elapsed, RejectReason, Rejected, find_cause};
use courteous_idempotency::IdempotencyKeyLayer;
use courteous_retry::Idempotent;
use courteous_testkit::{Latch, Probe, Reply, Task, TestBody};
use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep, timeout};
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use crate::parts::{limit_of, retry_waiting, throttle_of};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn put() -> Request<Full<Bytes>> {
    Request::put("http://api.test/")
        .body(Full::default())
        .unwrap()
}

async fn send<S, B>(mut service: S, request: Request<Full<Bytes>>) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| service.poll_ready(cx))
        .await
        .map_err(Into::into)?;
    service.call(request).await.map_err(Into::into)
}

/// Makes two requests from the parts of one.
#[derive(Clone)]
struct Splitter<S>(S, [&'static str; 2]);

impl<S> Splitter<S> {
    fn split<B>(
        self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Response<B>, BoxError>>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError> + Clone,
    {
        let Self(inner, targets) = self;
        let (parts, body) = request.into_parts();
        let of = move |target: &str| {
            let mut request = Request::from_parts(parts.clone(), body.clone());
            *request.uri_mut() = target.parse().unwrap();
            request
        };
        async move {
            send(inner.clone(), of(targets[0])).await?;
            send(inner, of(targets[1])).await
        }
    }
}

const ONE: &str = "http://api.test/orders";
const OTHER: &str = "http://api.test/payments";

#[tokio::test(start_paused = true)]
async fn what_makes_two_operations_of_one_call_gets_two_keys_or_an_error_and_never_one_key() {
    let post = || Request::post("http://api.test/").body(Full::<Bytes>::default());
    let key = |seen: &courteous_testkit::Seen| seen.headers.get("idempotency-key").cloned();
    for targets in [[ONE, OTHER], [ONE, ONE]] {
        // Outside of the key layer, where it belongs.
        let probe = Probe::new();
        let keys = IdempotencyKeyLayer::new();
        let inner = keys.layer(retry_waiting(SECOND).layer(probe.clone()));
        let split = Splitter(inner, targets).split(post().unwrap());
        assert!(split.await.is_ok());
        let sent: Vec<_> = probe.seen().iter().map(key).collect();
        assert!(sent.len() == 2 && sent[0].is_some() && sent[0] != sent[1]);

        // Between key layer and retry: the second operation is rejected.
        let probe = Probe::new();
        let retry = retry_waiting(SECOND).layer(probe.clone());
        let splitter = service_fn(move |request| Splitter(retry.clone(), targets).split(request));
        let error = send(keys.layer(splitter), post().unwrap())
            .await
            .unwrap_err();
        let rejected = find_cause::<Rejected>(&*error).unwrap();
        assert_eq!(rejected.reason(), RejectReason::KeyReused);
        assert_eq!(probe.calls(), 1);

        // Between a retry and a key layer inside it: each operation has its own key, the same on
        // both attempts.
        let probe = Probe::new().replies([
            Reply::ok(),
            Reply::fail(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
        ]);
        let keyed = keys.layer(probe.clone());
        let splitter = service_fn(move |request| Splitter(keyed.clone(), targets).split(request));
        send(retry_waiting(SECOND).layer(splitter), post().unwrap())
            .await
            .unwrap();
        let sent: Vec<_> = probe.seen().iter().map(key).collect();
        assert!(sent.len() == 4 && sent[0].is_some() && sent[0] != sent[1]);
        assert_eq!(sent[..2], sent[2..]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_layer_in_a_retry_by_the_callers_word_sends_no_operation_under_two_keys_nor_two_under_one()
 {
    let post = || {
        let request = Request::post("http://api.test/").extension(Idempotent(true));
        request.body(Full::<Bytes>::default()).unwrap()
    };
    let key = |seen: &courteous_testkit::Seen| seen.headers.get("idempotency-key").cloned();
    let closed =
        || Reply::fail(Rejected::new(RejectReason::Paused).with_wait(Instant::now(), SECOND));

    // A limit rejects the first attempt, and the second attempt has the same number.
    let probe = Probe::new().replies([closed(), Reply::error()]);
    let stack = retry_waiting(SECOND).layer(IdempotencyKeyLayer::new().layer(probe.clone()));
    send(stack, post()).await.unwrap();
    let sent: Vec<_> = probe.seen().iter().map(key).collect();
    assert!(sent.len() == 3 && sent[0].is_some());
    assert!(sent.iter().all(|key| *key == sent[0]));

    // Two operations of each attempt.
    let probe = Probe::new().replies([Reply::ok(), Reply::error()]);
    let keyed = IdempotencyKeyLayer::new().layer(probe.clone());
    let splitter = service_fn(move |request| Splitter(keyed.clone(), [ONE, OTHER]).split(request));
    send(retry_waiting(SECOND).layer(splitter), post())
        .await
        .unwrap();
    let sent: Vec<_> = probe.seen().iter().map(key).collect();
    assert!(sent.len() == 4 && sent[0].is_some() && sent[0] != sent[1]);
    assert_eq!(sent[..2], sent[2..]);

    // Two operations that cannot be told apart: the second is rejected, and the first is not sent
    // again.
    let probe = Probe::new();
    let keyed = IdempotencyKeyLayer::new().layer(probe.clone());
    let splitter = service_fn(move |request| Splitter(keyed.clone(), [ONE, ONE]).split(request));
    let error = send(retry_waiting(SECOND).layer(splitter), post())
        .await
        .unwrap_err();
    let rejected = find_cause::<Rejected>(&*error).unwrap();
    assert_eq!(
        (rejected.reason(), probe.calls()),
        (RejectReason::KeyReused, 1)
    );

    // Between two retries, the attempts of the inner retry cannot be told from two operations.
    let probe = Probe::new().replies([Reply::error()]);
    let inner = retry_waiting(SECOND).layer(IdempotencyKeyLayer::new().layer(probe.clone()));
    send(retry_waiting(SECOND).layer(inner), post())
        .await
        .unwrap();
    assert_eq!(probe.calls(), 2);
    assert!(probe.seen().iter().all(|seen| key(seen).is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_key_layer_inside_a_retry_lets_no_post_be_repeated() {
    let failing_once = || Probe::new().replies([Reply::status(500)]);
    let post = || Request::post("http://api.test/").body(Full::<Bytes>::default());

    let probe = failing_once();
    let service = IdempotencyKeyLayer::new().layer(retry_waiting(SECOND).layer(probe.clone()));
    let response = send(service, post().unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), probe.calls()), (200, 2));
    let key = |attempt: usize| {
        probe.seen()[attempt]
            .headers
            .get("idempotency-key")
            .cloned()
    };
    assert!(key(0).is_some() && key(0) == key(1));

    let probe = failing_once();
    let swapped = retry_waiting(SECOND).layer(IdempotencyKeyLayer::new().layer(probe.clone()));
    let response = send(swapped, post().unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), probe.calls()), (500, 1));
}

#[tokio::test(start_paused = true)]
async fn a_total_timeout_inside_a_retry_bounds_each_attempt_and_not_the_call() {
    let slow = || Probe::new().otherwise(|_| Reply::status(503).after(600 * MS));

    let probe = slow();
    let start = Instant::now();
    let service =
        TotalTimeoutLayer::new(SECOND).layer(retry_waiting(100 * MS).layer(probe.clone()));
    let error = send(service, put()).await.unwrap_err();
    assert!(find_cause::<Elapsed>(&*error).is_some());
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(probe.calls(), 2);

    let probe = slow();
    let start = Instant::now();
    let swapped =
        retry_waiting(100 * MS).layer(TotalTimeoutLayer::new(SECOND).layer(probe.clone()));
    let response = send(swapped, put()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(start.elapsed(), 2000 * MS, "twice the timeout");
    assert_eq!(probe.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_around_a_retry_holds_its_permit_during_the_backoff() {
    let failing_once = || Probe::new().replies([Reply::status(503)]);

    let probe = failing_once();
    let start = Instant::now();
    let service = retry_waiting(SECOND).layer(limit_of(1).0.layer(probe.clone()));
    let mut first = Task::new(send(service.clone(), put()));
    assert!(first.settle().await.is_pending());
    send(service, put()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "the permit is free");
    first.finish().await.unwrap();

    let probe = failing_once();
    let start = Instant::now();
    let swapped = limit_of(1)
        .0
        .layer(retry_waiting(SECOND).layer(probe.clone()));
    let mut first = Task::new(send(swapped.clone(), put()));
    assert!(first.settle().await.is_pending());
    let second = Task::new(send(swapped, put()));
    let (second, first) = tokio::join!(second.finish(), first.finish());
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(
        start.elapsed(),
        SECOND,
        "the second call waits for the first one's backoff"
    );
    assert_eq!(probe.instants().last(), Some(&(start + SECOND)));
}

/// Ten slow calls hold all slots while forty more wait; then all slots become free at once. Returns
/// the most sends in any 100 ms after that, at a quota of one.
async fn burst<S, B>(service: S, probe: &Probe, slow: &Latch) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    let mut calls = Vec::new();
    for _ in 0..50 {
        let mut call = Task::new(send(service.clone(), put()));
        assert!(call.settle().await.is_pending());
        calls.push(call);
        // Polled as a runtime would poll.
        for _ in 0..2 {
            sleep(50 * MS).await;
            for call in &mut calls {
                assert!(call.settle().await.is_pending());
            }
        }
    }
    assert_eq!(probe.calls(), 10);
    slow.open();
    let opened = Instant::now();
    let mut settled = 0;
    while settled < 50 {
        let mut waiting = Vec::new();
        for mut call in calls {
            match call.settle().await {
                Poll::Ready(response) => {
                    response.unwrap();
                    settled += 1;
                }
                Poll::Pending => waiting.push(call),
            }
        }
        calls = waiting;
        sleep(10 * MS).await;
    }
    let sends: Vec<_> = probe
        .instants()
        .into_iter()
        .filter(|at| *at >= opened)
        .collect();
    assert_eq!(sends.len(), 40);
    sends
        .iter()
        .map(|from| {
            sends
                .iter()
                .filter(|at| (*from..*from + 100 * MS).contains(at))
                .count()
        })
        .max()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_throttle_around_a_concurrency_limit_breaks_the_quota_in_a_burst() {
    let slow = Latch::new();
    let held = |latch: &Latch| {
        let latch = latch.clone();
        Probe::new().otherwise(move |_| Reply::ok().held_by(&latch))
    };

    let probe = held(&slow);
    let service = limit_of(10)
        .0
        .layer(throttle_of(10, 1).0.layer(probe.clone()));
    assert_eq!(burst(service, &probe, &slow).await, 1);

    let slow = Latch::new();
    let probe = held(&slow);
    let swapped = throttle_of(10, 1)
        .0
        .layer(limit_of(10).0.layer(probe.clone()));
    let sends = burst(swapped, &probe, &slow).await;
    assert!(
        sends > 30,
        "tokens taken long ago are all sent at once: {sends}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_around_a_throttle_bills_the_queue_to_the_server() {
    let probe = Probe::new().otherwise(|_| Reply::ok().after(500 * MS));
    let service = throttle_of(1, 1)
        .0
        .layer(AttemptTimeoutLayer::new(800 * MS).layer(probe.clone()));
    send(service.clone(), put()).await.unwrap();
    let start = Instant::now();
    timeout(10 * SECOND, send(service, put()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        start.elapsed(),
        SECOND,
        "500 ms in the queue, and 500 ms at the server"
    );

    let probe = Probe::new().otherwise(|_| Reply::ok().after(500 * MS));
    let swapped =
        AttemptTimeoutLayer::new(800 * MS).layer(throttle_of(1, 1).0.layer(probe.clone()));
    send(swapped.clone(), put()).await.unwrap();
    assert!(
        send(swapped, put()).await.is_err(),
        "a server that takes 500 ms is never given them"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_polled_loses_its_permit_at_the_total_timeout_and_fails_when_it_is_polled()
 {
    let probe = Probe::new().replies([
        Reply::ok().body(TestBody::new().chunk("a part").stall()),
        Reply::ok().body("at once"),
    ]);
    let (limit, limiter) = limit_of(1);
    let service = TotalTimeoutLayer::new(SECOND).layer(limit.layer(probe));
    let kept = send(service.clone(), put()).await.unwrap();
    sleep(SECOND).await;
    let start = Instant::now();
    let next = send(service, put()).await.unwrap();
    assert_eq!((start.elapsed(), limiter.in_flight()), (Duration::ZERO, 1));
    let error = kept.into_body().collect().await.unwrap_err();
    assert!(find_cause::<Elapsed>(&*error).is_some());
    assert_eq!(limiter.in_flight(), 1);
    next.into_body().collect().await.unwrap();
    assert_eq!(limiter.in_flight(), 0);
}
