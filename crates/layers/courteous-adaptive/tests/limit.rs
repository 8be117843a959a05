//! What a caller sees of the limit.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use courteous_adaptive::{
    AdaptiveLimitLayer, AdaptiveLimiter, Keyed, ObserveOnly, Partition, PermitBody, Pressure,
};
use courteous_core::{
    BoxError, CallContext, CallRecord, Decision, Elapsed, LongLived, NoteKind, RejectReason,
    Rejected, RequestView, Scope, Sent, UnderPressure, WaitedFor, find_cause,
};
use courteous_testkit::{Task, TestBody};
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// What the server does with a request.
#[derive(Clone, Copy, Debug)]
struct Server {
    takes: Duration,
    status: u16,
}

const WELL: Server = Server {
    takes: Duration::from_millis(50),
    status: 200,
};

type Client = BoxCloneService<Request<Server>, Response<PermitBody<TestBody>>, BoxError>;

fn client(layer: &AdaptiveLimitLayer) -> Client {
    BoxCloneService::new(
        layer.layer(service_fn(|request: Request<Server>| async move {
            let Server { takes, status } = *request.body();
            sleep(takes).await;
            if status == 0 {
                return Err::<_, BoxError>(Elapsed::new(takes, Scope::Attempt).into());
            }
            let mut response = Response::new(TestBody::new().chunk("answer"));
            *response.status_mut() = StatusCode::from_u16(status)?;
            if let Some(sent) = request.extensions().get::<Sent>() {
                response.extensions_mut().insert(*sent);
            }
            Ok(response)
        })),
    )
}

/// A request with a deadline after `left`.
fn within(left: Duration, server: Server) -> Request<Server> {
    let mut request = Request::new(server);
    CallContext::edit(request.extensions_mut()).tighten(Instant::now() + left);
    request
}

fn reason(error: &BoxError) -> Option<RejectReason> {
    find_cause::<Rejected>(&**error).map(Rejected::reason)
}

/// Sends `calls` calls one after another, a tenth of a second apart.
async fn learn(layer: &AdaptiveLimitLayer, calls: usize) {
    for _ in 0..calls {
        client(layer).oneshot(Request::new(WELL)).await.unwrap();
        sleep(50 * MS).await;
    }
}

fn pinned(limit: f64) -> (AdaptiveLimitLayer, AdaptiveLimiter) {
    let limiter = AdaptiveLimiter::new();
    limiter.pin(limit).unwrap();
    (AdaptiveLimitLayer::from(limiter.clone()), limiter)
}

#[tokio::test(start_paused = true)]
async fn calls_with_a_deadline_are_served_newest_first_and_calls_without_oldest_first() {
    for (has_deadline, expected) in [(true, [0, 3, 2, 1]), (false, [0, 1, 2, 3])] {
        let (layer, _) = pinned(1.0);
        let start = Instant::now();
        let mut calls = Vec::new();
        for _ in 0..4 {
            let request = match has_deadline {
                true => within(10 * SECOND, WELL),
                false => Request::new(WELL),
            };
            let mut call = Task::new(client(&layer).oneshot(request));
            assert!(call.poll().is_pending());
            calls.push(async move {
                call.finish().await.unwrap();
                start.elapsed().as_millis() / 50 - 1
            });
        }
        let [one, two, three, four] = calls.try_into().ok().unwrap();
        let places = tokio::join!(one, two, three, four);
        let places = [places.0, places.1, places.2, places.3];
        let mut order = [0; 4];
        for (call, place) in places.into_iter().enumerate() {
            order[place as usize] = call;
        }
        assert_eq!(order, expected, "deadline: {has_deadline}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_of_both_kinds_take_turns() {
    let (layer, limiter) = pinned(1.0);
    let start = Instant::now();
    let mut first = Task::new(client(&layer).oneshot(Request::new(WELL)));
    assert!(first.poll().is_pending());
    let mut patient: Vec<_> = (0..4)
        .map(|_| Task::new(client(&layer).oneshot(Request::new(WELL))))
        .collect();
    let mut hurried: Vec<_> = (0..4)
        .map(|_| Task::new(client(&layer).oneshot(within(60 * SECOND, WELL))))
        .collect();
    for call in patient.iter_mut().chain(&mut hurried) {
        assert!(call.poll().is_pending());
    }
    assert_eq!(limiter.waiting(), 8);
    first.finish().await.unwrap();
    let (patient, hurried) = tokio::join!(
        async {
            let mut ends = Vec::new();
            for call in patient {
                call.finish().await.unwrap();
                ends.push(start.elapsed());
            }
            ends
        },
        async {
            let mut ends = Vec::new();
            for call in hurried.into_iter().rev() {
                call.finish().await.unwrap();
                ends.push(start.elapsed());
            }
            ends
        }
    );
    for (one, other) in patient.iter().zip(&hurried) {
        assert!(one.abs_diff(*other) <= 100 * MS, "{patient:?} {hurried:?}");
    }
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_three_quarters_of_the_time_left_and_is_rejected_as_overloaded() {
    let (layer, limiter) = pinned(1.0);
    let slow = Server {
        takes: 60 * SECOND,
        ..WELL
    };
    let mut first = Task::new(client(&layer).oneshot(Request::new(slow)));
    assert!(first.poll().is_pending());
    let start = Instant::now();
    let error = client(&layer)
        .oneshot(within(8 * SECOND, WELL))
        .await
        .err()
        .unwrap();
    assert_eq!(reason(&error), Some(RejectReason::Overloaded));
    assert!(start.elapsed().abs_diff(6 * SECOND) <= 2 * MS);
    // Without time left, at once.
    let error = client(&layer)
        .oneshot(within(Duration::ZERO, WELL))
        .await
        .err()
        .unwrap();
    assert_eq!(reason(&error), Some(RejectReason::Overloaded));
    let (now, rejected) = (limiter.waiting(), limiter.rejected());
    assert_eq!((now, rejected), (0, 2));
    // A layer's own bounds.
    let start = Instant::now();
    let impatient = layer.clone().with_max_wait(SECOND);
    client(&impatient)
        .oneshot(Request::new(WELL))
        .await
        .err()
        .unwrap();
    assert!(start.elapsed().abs_diff(SECOND) <= 2 * MS);
    let full = layer.clone().with_max_waiting(0);
    client(&full)
        .oneshot(Request::new(WELL))
        .await
        .err()
        .unwrap();
    assert_eq!(limiter.rejected(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_permit_lasts_to_the_end_of_the_body_and_of_a_long_lived_call_to_the_head() {
    let (layer, limiter) = pinned(4.0);
    let response = client(&layer).oneshot(Request::new(WELL)).await.unwrap();
    assert_eq!(limiter.in_flight(), 1);
    drop(response);
    assert_eq!(limiter.in_flight(), 0);
    let mut watch = Request::new(WELL);
    watch.extensions_mut().insert(LongLived);
    let response = client(&layer).oneshot(watch).await.unwrap();
    assert_eq!(limiter.in_flight(), 0);
    drop(response);
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn timeouts_and_503s_lower_the_limit_and_nothing_else_does() {
    for (status, is_mark) in [
        (0, true),
        (503, true),
        (429, false),
        (500, false),
        (404, false),
    ] {
        let layer = AdaptiveLimitLayer::new();
        learn(&layer, 100).await;
        let before = layer.partition().limit();
        let server = Server { status, ..WELL };
        let _ = client(&layer).oneshot(Request::new(server)).await;
        let after = layer.partition().limit();
        assert_eq!(after < before, is_mark, "{status}: {before} -> {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_server_is_told_of_on_responses_and_in_errors_and_a_calm_one_is_not() {
    let layer = AdaptiveLimitLayer::new();
    learn(&layer, 100).await;
    let response = client(&layer).oneshot(Request::new(WELL)).await.unwrap();
    assert_eq!(response.extensions().get::<Pressure>(), None);
    drop(response);
    // Half of the attempts fail, about.
    for _ in 0..7 {
        let busy = Server {
            status: 503,
            ..WELL
        };
        let response = client(&layer).oneshot(Request::new(busy)).await;
        drop(response);
    }
    let busy = Server {
        status: 503,
        ..WELL
    };
    let response = client(&layer).oneshot(Request::new(busy)).await.unwrap();
    let pressure = response.extensions().get::<Pressure>();
    assert_eq!(pressure, Some(&Pressure::Overloaded));
    assert_eq!(layer.partition().pressure(), Pressure::Overloaded);
    drop(response);
    let silent = Server {
        takes: SECOND,
        status: 0,
    };
    let error = client(&layer)
        .oneshot(Request::new(silent))
        .await
        .err()
        .unwrap();
    let under = find_cause::<UnderPressure>(&*error).unwrap();
    assert_eq!(under.pressure(), Pressure::Overloaded);
    assert!(find_cause::<Elapsed>(&*error).is_some());
    assert_eq!(
        error.to_string(),
        "attempt ended after 1s of silence (the server is overloaded)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_which_too_few_answers_tell_is_of_unknown_pressure() {
    let layer = AdaptiveLimitLayer::new();
    let busy = Server {
        status: 503,
        ..WELL
    };
    let response = client(&layer).oneshot(Request::new(busy)).await.unwrap();
    let pressure = response.extensions().get::<Pressure>();
    assert_eq!(pressure, Some(&Pressure::Unknown));
    drop(response);
    let response = client(&layer).oneshot(Request::new(WELL)).await.unwrap();
    assert_eq!(response.extensions().get::<Pressure>(), None);
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_further_in_waited_is_no_latency() {
    let layer = AdaptiveLimitLayer::new();
    learn(&layer, 100).await;
    let before = layer.partition().limit();
    for (is_told, is_cut) in [(true, false), (false, true)] {
        let mut held_back = Request::new(Server {
            takes: 3 * SECOND,
            ..WELL
        });
        if is_told {
            let sent = Instant::now() + 3 * SECOND - 50 * MS;
            held_back.extensions_mut().insert(Sent::new(sent));
        }
        client(&layer).oneshot(held_back).await.unwrap();
        assert_eq!(layer.partition().limit() < before, is_cut);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_after_its_deadline_is_a_timeout() {
    let layer = AdaptiveLimitLayer::new();
    learn(&layer, 100).await;
    let before = layer.partition().limit();
    let silent = Server {
        takes: 60 * SECOND,
        ..WELL
    };
    for (left, wait, is_cut) in [
        (2 * SECOND, 100 * MS, false),
        (2 * SECOND, 2 * SECOND, true),
    ] {
        let call = client(&layer).oneshot(within(left, silent));
        let _ = tokio::time::timeout(wait, call).await;
        assert_eq!(layer.partition().limit() < before, is_cut, "{wait:?}");
        assert_eq!(layer.partition().in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn below_one_calls_are_paced_and_a_well_server_is_back_at_once() {
    let layer = AdaptiveLimitLayer::new();
    learn(&layer, 100).await;
    sleep(4 * SECOND).await;
    let silent = Server {
        takes: SECOND,
        status: 0,
    };
    let _ = client(&layer).oneshot(Request::new(silent)).await;
    assert!(layer.partition().limit() < 1.0);
    let start = Instant::now();
    client(&layer).oneshot(Request::new(WELL)).await.unwrap();
    client(&layer).oneshot(Request::new(WELL)).await.unwrap();
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    learn(&layer, 10).await;
    assert!(layer.partition().limit() >= 1.0);
    assert_eq!(layer.partition().pressure(), Pressure::Calm);
}

#[tokio::test(start_paused = true)]
async fn observed_calls_are_all_sent_and_what_would_have_happened_is_counted() {
    let switch = ObserveOnly::new();
    let (layer, limiter) = pinned(1.0);
    let layer = layer.observe_only(switch.clone());
    let calls = (0..3).map(|_| client(&layer).oneshot(Request::new(WELL)));
    let mut calls: Vec<_> = calls.map(Task::new).collect();
    for call in &mut calls {
        assert!(call.poll().is_pending());
    }
    assert_eq!((limiter.in_flight(), limiter.waiting()), (3, 0));
    assert_eq!(switch.count(Decision::AdaptiveWait), 2);
    Task::finish_all(&mut calls).await;
    let none = layer.with_max_waiting(0);
    let mut one = Task::new(client(&none).oneshot(Request::new(WELL)));
    let mut other = Task::new(client(&none).oneshot(Request::new(WELL)));
    assert!(one.poll().is_pending() && other.poll().is_pending());
    assert_eq!(switch.count(Decision::AdaptiveReject), 1);
    switch.set(false);
    client(&none)
        .oneshot(Request::new(WELL))
        .await
        .err()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_origin_has_a_limit_of_its_own_which_is_forgotten_after_a_minute_without_calls() {
    let layer = AdaptiveLimitLayer::per_origin(AdaptiveLimitLayer::new());
    let partition = layer.partition().clone();
    let client = layer.layer(service_fn(async |_: Request<()>| {
        sleep(50 * MS).await;
        Ok::<_, BoxError>(Response::new(TestBody::new()))
    }));
    let get = |host: &str| {
        let request = Request::get(format!("http://{host}/")).body(()).unwrap();
        client.clone().oneshot(request)
    };
    for host in ["a.example", "A.example:80", "b.example"] {
        get(host).await.unwrap();
    }
    assert_eq!(partition.len(), 2);
    let snapshot = partition.snapshot().unwrap();
    let mut keys: Vec<_> = snapshot
        .limits
        .iter()
        .filter_map(|limit| limit.key.clone())
        .collect();
    keys.sort();
    assert_eq!(keys, ["http://a.example", "http://b.example"]);
    advance(61 * SECOND).await;
    for n in 0..200 {
        get(&format!("{n}.other{n}.example")).await.unwrap();
        advance(61 * SECOND).await;
    }
    assert!(partition.len() < 100, "{}", partition.len());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_not_polled_holds_up_no_other() {
    let (layer, limiter) = pinned(1.0);
    let mut first = Task::new(client(&layer).oneshot(Request::new(WELL)));
    let mut parked = Task::new(client(&layer).oneshot(Request::new(WELL)));
    let mut next = Task::new(client(&layer).oneshot(Request::new(WELL)));
    assert!(first.poll().is_pending() && parked.poll().is_pending() && next.poll().is_pending());
    first.finish().await.unwrap();
    let start = Instant::now();
    next.finish().await.unwrap();
    assert!(start.elapsed() <= 70 * MS, "{:?}", start.elapsed());
    assert_eq!(limiter.waiting(), 1);
    parked.finish().await.unwrap();
}

#[test]
fn bad_settings_are_refused_where_they_are_written() {
    let layer = AdaptiveLimitLayer::new;
    for (error, text) in [
        (
            layer().with_bounds(-1.0, 5.0).unwrap_err(),
            "`min`: -1 must be a number from 0 on",
        ),
        (
            layer().with_bounds(f64::NAN, 5.0).unwrap_err(),
            "`min`: NaN must be a number from 0 on",
        ),
        (
            layer().with_bounds(6.0, 5.0).unwrap_err(),
            "`max`: 5 must be at least 1, and at least the `min` of 6",
        ),
        (
            layer().with_bounds(0.0, 0.5).unwrap_err(),
            "`max`: 0.5 must be at least 1, and at least the `min` of 0",
        ),
        (
            layer().with_tolerance(1.0).unwrap_err(),
            "`tolerance`: 1 must be a number greater than 1",
        ),
        (
            AdaptiveLimiter::new().pin(f64::INFINITY).unwrap_err(),
            "`limit`: inf must be a number from 0 on",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_snapshot_of_the_limit_is_plain_data() {
    let limiter = AdaptiveLimiter::new();
    let snapshot = Partition::snapshot(&limiter).unwrap();
    assert_eq!(
        format!("{snapshot:?}"),
        "AdaptiveSnapshot { in_flight: 0, waiting: 0, rejected: 0, limits: [LearnedSnapshot \
         { limit: 20.0, pinned: false, in_flight: 0, waiting: 0, pressure: \"unknown\" }] }"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_or_was_rejected_says_so_in_its_record() {
    let (layer, _) = pinned(1.0);
    let mut first = Task::new(client(&layer).oneshot(Request::new(WELL)));
    assert!(first.poll().is_pending());
    let mut request = Request::new(WELL);
    let record = CallRecord::of_or_insert(request.extensions_mut());
    let mut second = Task::new(client(&layer).oneshot(request));
    assert!(second.poll().is_pending());
    first.finish().await.unwrap();
    second.finish().await.unwrap();
    assert_eq!(record.waited(WaitedFor::Concurrency), 50 * MS);
    let mut third = Task::new(client(&layer).oneshot(Request::new(WELL)));
    assert!(third.poll().is_pending());
    let mut request = Request::new(WELL);
    let record = CallRecord::of_or_insert(request.extensions_mut());
    let full = layer.clone().with_max_waiting(0);
    client(&full).oneshot(request).await.err().unwrap();
    let notes: Vec<_> = record.notes().iter().map(|note| note.kind()).collect();
    assert_eq!(notes, [NoteKind::Rejected(RejectReason::Overloaded)]);
}

#[test]
fn keys_need_not_be_cloneable() {
    #[derive(PartialEq, Eq, Hash)]
    struct Tenant(u64);

    let keyed = Keyed::new(AdaptiveLimiter::new(), |_: RequestView<'_>| Tenant(1));
    let clone = keyed.clone();
    assert!(clone.is_empty());
    keyed.select(RequestView::of(&Request::new(())));
    assert_eq!((clone.len(), clone.get(&Tenant(1)).is_some()), (1, true));
}
