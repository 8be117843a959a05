//! Timeouts that only observe: what they tell, and that they change nothing.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use courteous_core::{BoxError, CallContext, Decision, Elapsed, find_cause};
use courteous_testkit::{Probe, Reply, TestBody};
use courteous_timeout::{
    AttemptTimeoutLayer, CallTimeout, Coverage, ObserveOnly, PerAttemptTimeout, TotalTimeoutLayer,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service, ServiceExt};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn request() -> Request<Empty<Bytes>> {
    Request::new(Empty::new())
}

/// Calls that take 0, 400, 800 ms and so on, and when each has ended.
async fn run<S, B>(service: S) -> Vec<(Duration, bool)>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Into<BoxError>> + Clone,
{
    let mut ends = Vec::new();
    for _ in 0..6 {
        let start = Instant::now();
        let answer = service.clone().oneshot(request()).await;
        ends.push((start.elapsed(), answer.is_ok()));
    }
    ends
}

fn slow() -> Probe {
    Probe::new().replies((0..6).map(|i| Reply::ok().after(i * 400 * MS)))
}

fn assert_unchanged(probe: &Probe, bare: &Probe) {
    assert_eq!(probe.calls(), bare.calls());
    for (seen, bare) in probe.seen().iter().zip(bare.seen()) {
        assert_eq!(seen.headers, bare.headers);
        assert_eq!(seen.extensions.len(), bare.extensions.len());
    }
}

#[tokio::test(start_paused = true)]
async fn observed_calls_are_those_without_the_layer_and_as_many_are_told_as_would_have_failed() {
    let bare = slow();
    let without = run(bare.clone()).await;
    let layer = TotalTimeoutLayer::new(SECOND);
    let enforced = run(layer.clone().layer(slow())).await;
    let failed = enforced.iter().filter(|(_, ok)| !ok).count() as u64;
    assert_eq!(failed, 3);

    let (switch, probe) = (ObserveOnly::new(), slow());
    let observed = run(layer.observe_only(switch.clone()).layer(probe.clone())).await;
    assert_eq!(observed, without);
    assert_unchanged(&probe, &bare);
    assert_eq!(switch.count(Decision::TotalTimeout), failed);
}

#[tokio::test(start_paused = true)]
async fn observed_attempts_are_those_without_the_layer_and_no_field_states_their_deadline() {
    let bare = slow();
    let without = run(bare.clone()).await;
    let layer = AttemptTimeoutLayer::new(SECOND).with_grpc_timeout();
    let enforced = run(layer.clone().layer(slow())).await;
    let failed = enforced.iter().filter(|(_, ok)| !ok).count() as u64;

    let (switch, probe) = (ObserveOnly::new(), slow());
    let observed = run(layer.observe_only(switch.clone()).layer(probe.clone())).await;
    assert_eq!(observed, without);
    assert_unchanged(&probe, &bare);
    assert_eq!(switch.count(Decision::AttemptTimeout), failed);
}

#[tokio::test(start_paused = true)]
async fn it_is_told_at_the_instant_at_which_the_call_would_have_ended() {
    let switch = ObserveOnly::new();
    let layer = TotalTimeoutLayer::new(SECOND).observe_only(switch.clone());
    let probe = Probe::new().otherwise(|_| Reply::never());
    let start = Instant::now();
    let call = tokio::spawn(layer.layer(probe).oneshot(request()));
    sleep_until(start + SECOND - MS).await;
    assert_eq!(switch.count(Decision::TotalTimeout), 0);
    sleep_until(start + SECOND + MS).await;
    assert_eq!(switch.count(Decision::TotalTimeout), 1);
    sleep_until(start + 60 * SECOND).await;
    assert_eq!(switch.count(Decision::TotalTimeout), 1);
    assert!(!call.is_finished());
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn no_layer_inside_is_told_a_deadline() {
    let layer = TotalTimeoutLayer::new(SECOND).observe_only(true);
    let probe = Probe::new();
    layer.layer(probe.clone()).oneshot(request()).await.unwrap();
    assert_eq!(probe.seen()[0].context.deadline(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_call_without_any_time_is_told_its_body_may_be_silent() {
    let silent = || TestBody::new().pause(5 * SECOND).chunk("late");
    let probe = Probe::new().otherwise(move |_| Reply::ok().body(silent()));
    let passed = |request: &mut Request<Empty<Bytes>>| {
        CallContext::edit(request.extensions_mut()).tighten(Instant::now());
    };
    let none = |request: &mut Request<Empty<Bytes>>| {
        let timeout = PerAttemptTimeout(Duration::ZERO);
        request.extensions_mut().insert(timeout);
    };
    for (timeout, hurry) in [
        (Duration::ZERO, None),
        (SECOND, Some(&passed as &dyn Fn(&mut _))),
        (SECOND, Some(&none)),
    ] {
        let switch = ObserveOnly::new();
        let layer = AttemptTimeoutLayer::new(timeout).with_idle_timeout(SECOND);
        let mut request = request();
        if let Some(hurry) = hurry {
            hurry(&mut request);
        }
        let service = layer.observe_only(switch.clone()).layer(probe.clone());
        let response = service.oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "late");
        assert_eq!(switch.count(Decision::AttemptTimeout), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_any_time_is_sent_and_told() {
    let switch = ObserveOnly::new();
    let probe = Probe::new();
    let total = TotalTimeoutLayer::new(SECOND).observe_only(switch.clone());
    let mut hurried = request();
    hurried.extensions_mut().insert(CallTimeout(Duration::ZERO));
    total.layer(probe.clone()).oneshot(hurried).await.unwrap();
    let attempt = AttemptTimeoutLayer::new(Duration::ZERO).observe_only(switch.clone());
    attempt
        .layer(probe.clone())
        .oneshot(request())
        .await
        .unwrap();
    assert_eq!(probe.calls(), 2);
    assert_eq!(switch.count(Decision::TotalTimeout), 1);
    assert_eq!(switch.count(Decision::AttemptTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_slow_is_told_once_and_read_to_its_end() {
    let stream = || {
        (0..4).fold(TestBody::new(), |body, _| {
            body.pause(700 * MS).chunk("tick")
        })
    };
    let server = || Probe::new().replies([Reply::ok().body(stream())]);
    let read = async |mut body: Pin| {
        let start = Instant::now();
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => frames.push((start.elapsed(), frame.into_data().unwrap())),
                Err(error) => {
                    assert!(find_cause::<Elapsed>(&*error).is_some());
                    return (frames, false);
                }
            }
        }
        (frames, true)
    };
    let bare = server().oneshot(request()).await.unwrap().into_body();
    let (without, ended) = read(bare.map_err(Into::into).boxed_unsync()).await;
    assert!(ended && without.len() == 4);

    let switch = ObserveOnly::new();
    let total = TotalTimeoutLayer::new(SECOND).observe_only(switch.clone());
    let body = total.layer(server()).oneshot(request()).await.unwrap();
    assert_eq!(
        read(body.into_body().boxed_unsync()).await,
        (without.clone(), true)
    );
    assert_eq!(switch.count(Decision::TotalTimeout), 1);

    let idle = AttemptTimeoutLayer::new(SECOND)
        .with_coverage(Coverage::Body)
        .with_idle_timeout(500 * MS);
    let body = idle
        .clone()
        .layer(server())
        .oneshot(request())
        .await
        .unwrap();
    assert!(!read(body.into_body().boxed_unsync()).await.1);
    let idle = idle.observe_only(switch.clone());
    let body = idle.layer(server()).oneshot(request()).await.unwrap();
    assert_eq!(read(body.into_body().boxed_unsync()).await, (without, true));
    assert_eq!(switch.count(Decision::AttemptTimeout), 1);
}

type Pin = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

#[tokio::test(start_paused = true)]
async fn a_call_keeps_the_mode_that_it_began_with() {
    let switch = ObserveOnly::new();
    let layer = TotalTimeoutLayer::new(SECOND).observe_only(switch.clone());
    let probe = Probe::new().otherwise(|_| Reply::ok().after(2 * SECOND));
    let service = layer.layer(probe);
    let observed = service.clone().oneshot(request());
    let mut observed = tokio_test::task::spawn(observed);
    tokio_test::assert_pending!(observed.poll());
    switch.set(false);
    let (observed, enforced) = tokio::join!(observed, service.oneshot(request()));
    assert!(observed.is_ok());
    assert!(find_cause::<Elapsed>(&*enforced.unwrap_err()).is_some());
    assert_eq!(switch.count(Decision::TotalTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_another_layer_is_left_to_it() {
    let inner = TotalTimeoutLayer::new(10 * SECOND).observe_only(true);
    let outer = TotalTimeoutLayer::new(SECOND);
    let probe = Probe::new().otherwise(|_| Reply::never());
    let start = Instant::now();
    let service = outer.layer(inner.layer(probe.clone()));
    assert!(service.oneshot(request()).await.is_err());
    assert_eq!(start.elapsed(), SECOND);
    let context: CallContext = probe.seen()[0].context;
    assert_eq!(context.deadline(), Some(start + SECOND));
}
