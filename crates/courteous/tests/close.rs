//! The end of a client: no new calls, a wait for those in flight, and what is told of the rest.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{
    collections::VecDeque,
    fmt::Debug,
    future::{Ready, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use bytes::Bytes;
use courteous::{
    BoxError, Courteous, Error, Stack,
    client::{CloseLayer, Closer, Unfinished},
    core::{RejectReason, Rejected},
    find_cause,
    retry::{RetryInfo, RetryLayer},
    throttle::ThrottleLayer,
};
use courteous_core::{CallRecord, NoteKind};
use courteous_testkit::{Latch, Probe, Reply, Subject, TestBody, contract};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::{
    runtime,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service, ServiceExt};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

contract!(mod the_layer {
    let closer = Closer::new();
    Subject::new(CloseLayer::from(closer.clone())).gauge("calls", move || closer.in_flight())
});

#[test]
fn the_stack_counts_no_call_that_was_dropped_in_any_state() {
    let subject = || {
        let layer = Stack::new().build().unwrap();
        let closer = layer.closer().clone();
        Subject::new(layer).gauge("calls", move || closer.in_flight())
    };
    contract::a_future_dropped_after_any_poll_releases_all(subject);
    contract::a_response_dropped_at_any_frame_releases_all(subject);
}

fn put() -> Request<Full<Bytes>> {
    let request = Request::put("http://api.test/notes/1");
    request.body(Full::from("a note")).unwrap()
}

fn client(probe: &Probe) -> Courteous<Probe> {
    Stack::new().build().unwrap().layer(probe.clone())
}

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

fn is_rejected(error: &Error) -> bool {
    let reason = error.find::<Rejected>().map(Rejected::reason);
    reason == Some(RejectReason::ShuttingDown)
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_sends_nothing_and_says_why() {
    let probe = Probe::new();
    let client = client(&probe);
    client.close(within(SECOND)).await.unwrap();
    let error = client.oneshot(put()).await.map(drop).unwrap_err();
    assert!(is_rejected(&error) && error.is_rejected() && !error.is_timeout());
    assert_eq!((error.attempts(), error.not_before()), (None, None));
    let source = error.into_source().to_string();
    assert_eq!(source, "request not sent: its client is shutting down");
    assert_eq!(probe.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn all_clones_and_all_services_of_the_layer_are_closed_and_no_others() {
    let probe = Probe::new();
    let layer = Stack::new().build().unwrap();
    let (one, two) = (
        layer.layer(probe.clone()),
        layer.clone().layer(probe.clone()),
    );
    let (clone, other) = (one.clone(), client(&probe));
    clone.close(within(SECOND)).await.unwrap();
    for closed in [one, two, clone, layer.layer(probe.clone())] {
        assert!(closed.closer().is_closing());
        assert!(is_rejected(
            &closed.oneshot(put()).await.map(drop).unwrap_err()
        ));
    }
    assert!(!other.closer().is_closing());
    other.oneshot(put()).await.unwrap();
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_outside_does_not_repeat_a_rejected_call() {
    let probe = Probe::new();
    let client = client(&probe);
    client.close(within(SECOND)).await.unwrap();
    let start = Instant::now();
    let error = RetryLayer::new().layer(client).oneshot(put()).await;
    let error = Error::new(error.map(drop).unwrap_err());
    assert!(is_rejected(&error));
    assert_eq!(
        (error.attempts(), start.elapsed()),
        (Some(0), Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn it_waits_to_the_end_of_the_response_bodies() {
    let slow = || TestBody::new().pause(5 * SECOND).chunk("done");
    let probe = Probe::new().otherwise(move |_| Reply::ok().after(2 * SECOND).body(slow()));
    let client = client(&probe);
    let calls = [(), ()].map(|()| tokio::spawn(client.clone().oneshot(put())));
    sleep(SECOND).await;
    let start = Instant::now();
    let closer = client.closer().clone();
    let closing = tokio::spawn(client.close(within(60 * SECOND)));
    assert_eq!(closer.in_flight(), 2);
    let [first, second] = calls;
    let first = first.await.unwrap().unwrap();
    assert_eq!(
        first.into_body().collect().await.unwrap().to_bytes(),
        "done"
    );
    assert_eq!(closer.in_flight(), 1);
    // A body that is dropped has ended, too.
    let second = second.await.unwrap().unwrap();
    assert!(!closing.is_finished());
    drop(second);
    closing.await.unwrap().unwrap();
    assert_eq!((closer.in_flight(), start.elapsed()), (0, 6 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_in_flight_no_more() {
    let probe = Probe::new().otherwise(|_| Reply::ok().body(TestBody::new().fail("broken")));
    let client = client(&probe);
    let response = client.clone().oneshot(put()).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(client.closer().in_flight(), 1);
    // The error of the body is the client's, too.
    let error: Error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "call failed");
    assert_eq!(client.closer().in_flight(), 0);
    let error = Probe::new().otherwise(|_| Reply::error());
    let client = self::client(&error);
    client.clone().oneshot(put()).await.map(drop).unwrap_err();
    assert_eq!(client.closer().in_flight(), 0);
    drop(body);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_it_tells_how_many_are_left_and_leaves_them_alone() {
    let latch = Latch::new();
    let held = latch.clone();
    let probe = Probe::new().otherwise(move |_| Reply::ok().held_by(&held));
    let client = client(&probe);
    let calls = [(), (), ()].map(|()| tokio::spawn(client.clone().oneshot(put())));
    sleep(SECOND).await;
    let start = Instant::now();
    let unfinished = client.close(within(5 * SECOND)).await.unwrap_err();
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert_eq!(unfinished.in_flight(), 3);
    assert!(!unfinished.has_unflushed_letters());
    let text = "3 calls still in flight at the deadline of the close";
    assert_eq!(unfinished.to_string(), text);
    latch.open();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    // A second close waits for the rest. With a deadline in the past it only looks.
    client.close(start).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_in_a_backoff_or_a_queue_go_on() {
    let probe = Probe::new().replies([Reply::status(503)]);
    let throttle = ThrottleLayer::per_origin("1/s".parse::<courteous::throttle::Rate>().unwrap());
    let stack = Stack::new().with_throttle(throttle);
    let client = stack.build().unwrap().layer(probe.clone());
    let calls = [(), (), ()].map(|()| tokio::spawn(client.clone().oneshot(put())));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(
        probe.calls(),
        1,
        "one backs off, the others are in the queue"
    );
    client.close(within(20 * SECOND)).await.unwrap();
    let mut attempts = 0;
    for call in calls {
        let response = call.await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        attempts += RetryInfo::of(&response).attempts();
    }
    assert_eq!((attempts, probe.calls()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_second_close_joins_the_first_each_with_its_own_deadline() {
    let probe = Probe::new().otherwise(|_| Reply::ok().after(5 * SECOND));
    let client = client(&probe);
    let call = tokio::spawn(client.clone().oneshot(put()));
    sleep(SECOND).await;
    let start = Instant::now();
    let until = async |time| {
        let result = client.close(start + time).await;
        (result.map_err(|left| left.in_flight()), start.elapsed())
    };
    let (long, short, other) = tokio::join!(until(9 * SECOND), until(SECOND), until(8 * SECOND));
    assert_eq!(short, (Err(1), SECOND));
    assert_eq!((long, other), ((Ok(()), 4 * SECOND), (Ok(()), 4 * SECOND)));
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_dropped_or_never_polled_leaves_the_client_closed() {
    let probe = Probe::new().otherwise(|_| Reply::ok().after(5 * SECOND));
    let client = client(&probe);
    let call = tokio::spawn(client.clone().oneshot(put()));
    sleep(SECOND).await;
    drop(client.close(within(SECOND)));
    assert!(is_rejected(
        &client.clone().oneshot(put()).await.map(drop).unwrap_err()
    ));
    let polled = tokio::time::timeout(SECOND, client.close(within(9 * SECOND)));
    assert!(polled.await.is_err());
    assert!(is_rejected(
        &client.clone().oneshot(put()).await.map(drop).unwrap_err()
    ));
    client.close(within(9 * SECOND)).await.unwrap();
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_may_be_awaited_on_another_runtime() {
    let probe = Probe::new().otherwise(|_| Reply::ok().after(SECOND));
    let client = client(&probe);
    let call = tokio::spawn(client.clone().oneshot(put()));
    tokio::task::yield_now().await;
    let closing = client.close(Instant::now() + 600 * SECOND);
    let closed = thread::spawn(|| {
        let mut builder = runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().unwrap();
        runtime.block_on(closing)
    });
    call.await.unwrap().unwrap();
    drop(client);
    closed.join().unwrap().unwrap();
}

#[test]
fn a_close_that_need_not_wait_needs_no_runtime() {
    let closer = Closer::new();
    let deadline = Instant::now();
    let closing = pin!(closer.close(deadline));
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(closing.poll(&mut cx), Poll::Ready(Ok::<_, Unfinished>(())));
}

#[test]
fn bodies_and_futures_are_send_and_static() {
    fn body<B: Body<Error: Into<BoxError>> + Send + Unpin + Default + 'static>(_: &B) {}
    fn send<T: Send + 'static>(value: T) -> T {
        value
    }
    drop(async {
        let response = send(client(&Probe::new()).oneshot(put())).await.unwrap();
        body(response.body());
        let _ = send(Closer::new().close(Instant::now())).await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_layer_by_hand_does_the_same() {
    let probe = Probe::new().otherwise(|_| Reply::ok().after(2 * SECOND));
    let layer = CloseLayer::new();
    let client = layer.layer(probe.clone());
    let call = tokio::spawn(client.clone().oneshot(put()));
    sleep(SECOND).await;
    let unfinished = layer.closer().close(Instant::now()).await.unwrap_err();
    assert_eq!(unfinished.in_flight(), 1);
    let mut request = put();
    let record = CallRecord::of_or_insert(request.extensions_mut());
    let error = client.oneshot(request).await.map(drop).unwrap_err();
    let reason = find_cause::<Rejected>(&*error).map(Rejected::reason);
    assert_eq!(reason, Some(RejectReason::ShuttingDown));
    let told = NoteKind::Rejected(RejectReason::ShuttingDown);
    assert_eq!(record.notes()[0].kind(), told);
    call.await.unwrap().unwrap();
    layer.closer().close(within(SECOND)).await.unwrap();
    assert_eq!(probe.calls(), 1);
}

/// Calls each 5 ms, and drops each call after 10 ms: there are always two.
async fn call_again_and_again<S>(mut client: S)
where
    S: Service<Request<Full<Bytes>>>,
{
    let mut calls = VecDeque::new();
    loop {
        assert!(poll_fn(|cx| client.poll_ready(cx)).await.is_ok());
        calls.push_back(client.call(put()));
        if calls.len() > 2 {
            calls.pop_front();
        }
        sleep(5 * MS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rejected_calls_do_not_keep_a_close_waiting() {
    async fn ends_with_its_last_call<S>(client: S, closer: &Closer, rejected: Duration)
    where
        S: Service<Request<Full<Bytes>>, Error: Debug + Send, Response: Send, Future: Send>,
        S: Clone + Send + 'static,
    {
        let call = tokio::spawn(client.clone().oneshot(put()));
        sleep(MS).await;
        let start = Instant::now();
        let closing = closer.close(start + 10 * SECOND);
        tokio::select! {
            closed = closing => closed.unwrap(),
            () = call_again_and_again(client) => {}
        }
        assert_eq!(start.elapsed(), 99 * MS + rejected);
        drop(call.await.unwrap().unwrap());
    }

    let probe = Probe::new().otherwise(|_| Reply::ok().after(100 * MS));
    let stacked = client(&probe);
    let closer = stacked.closer().clone();
    ends_with_its_last_call(stacked, &closer, Duration::ZERO).await;
    let layer = CloseLayer::new();
    let client = layer.layer(probe.clone());
    ends_with_its_last_call(client, layer.closer(), Duration::ZERO).await;
    #[cfg(feature = "dead-letter")]
    {
        let letters = courteous::dead_letter::MemoryStore::new();
        let stack =
            Stack::new().with_dead_letter(courteous::dead_letter::DeadLetterLayer::new(letters));
        let layer = stack.build().unwrap();
        // The last rejected call that may have a letter began after 95 ms, and is dropped after 105 ms.
        let client = layer.layer(probe);
        ends_with_its_last_call(client, layer.closer(), 6 * MS).await;
    }
}

/// Like a balancer whose servers are all gone.
#[derive(Clone)]
struct NeverReady;

impl<B> Service<Request<B>> for NeverReady {
    type Response = Response<TestBody>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_rejects_at_once_though_its_inner_service_is_not_ready() {
    let layer = CloseLayer::new();
    let client = layer.layer(NeverReady);
    layer.closer().close(within(SECOND)).await.unwrap();
    let rejected = timeout(SECOND, client.oneshot(put())).await.unwrap();
    assert!(is_rejected(&Error::new(rejected.map(drop).unwrap_err())));
}

/// Many threads enter and leave while another one closes: every call is either rejected or waited for.
#[test]
fn no_call_slips_through_a_close() {
    let mut builder = runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(4).enable_time().build().unwrap();
    for _ in 0..200 {
        runtime.block_on(async {
            let probe = Probe::new().otherwise(|_| Reply::ok().pending(2).body("body"));
            let client = client(&probe);
            let call = async |client: Courteous<Probe>| {
                let response = client.oneshot(put()).await?;
                response.into_body().collect().await
            };
            let calls: Vec<_> = (0..8).map(|_| tokio::spawn(call(client.clone()))).collect();
            client.close(within(60 * SECOND)).await.unwrap();
            assert_eq!((client.closer().in_flight(), probe.in_flight()), (0, 0));
            let sent = probe.calls();
            let mut answered = 0;
            for call in calls {
                match call.await.unwrap() {
                    Ok(_) => answered += 1,
                    Err(error) => assert!(is_rejected(&error)),
                }
            }
            assert_eq!((probe.calls(), answered), (sent, sent));
        });
    }
}
