//! One key is for one operation, also if a service makes several requests out of one.

use std::time::Duration;

use courteous_core::{CallRecord, KeyClaim, RejectReason, Rejected, find_cause};
use courteous_retry::{NoRetry, RetryInfo, RetryLayer, StopReason};
use courteous_testkit::{CountingBody, Probe, Reply, Task, TestBody};
use http::{Method, Request, Response, request::Parts};
use tokio::time::timeout;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};

use crate::support::{Body, body, keyed, retried, steady};

/// The parts of a request beside whose key a key layer has put a claim.
fn claimed() -> Parts {
    let mut parts = keyed().into_parts().0;
    parts.extensions.insert(KeyClaim::new());
    parts
}

type Sent = Result<Response<CountingBody<TestBody>>, BoxError>;

/// One of several requests that are made of `parts`.
async fn send<S>(service: &S, parts: &Parts, path: &'static str) -> Sent
where
    S: Service<Request<Body>, Response = Response<CountingBody<TestBody>>, Error = BoxError>
        + Clone,
{
    let mut request = Request::from_parts(parts.clone(), body("payload"));
    *request.uri_mut() = path.parse().unwrap();
    service.clone().oneshot(request).await
}

fn is_rejected(sent: Sent) -> bool {
    let error = sent.map(drop).unwrap_err();
    let info = retried(&error).info();
    assert_eq!(
        (info.stop_reason(), info.attempts()),
        (StopReason::Rejected, 0)
    );
    let rejected = find_cause::<Rejected>(&*error).unwrap();
    rejected.reason() == RejectReason::KeyReused
}

#[tokio::test(start_paused = true)]
async fn a_second_operation_under_one_key_is_rejected_wherever_it_goes() {
    for second in ["http://api.test/a", "http://api.test/b"] {
        for first in [|| Reply::ok(), || Reply::status(404), || Reply::status(503)] {
            let probe = Probe::new().otherwise(move |_| first());
            let (layer, parts) = (steady(), claimed());
            let service = layer.layer(probe.clone());
            assert!(send(&service, &parts, "http://api.test/a").await.is_ok());
            let calls = probe.calls();
            assert!(is_rejected(send(&service, &parts, second).await));
            assert_eq!(probe.calls(), calls, "{second}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_operation_is_rejected_while_the_first_is_under_way_and_by_another_retry_too() {
    let parts = claimed();
    let probe = Probe::new().otherwise(|_| Reply::never());
    let first = steady().layer(probe.clone());
    let mut call = Task::new(send(&first, &parts, "http://api.test/a"));
    assert!(call.settle().await.is_pending());
    let other = steady().layer(probe.clone());
    assert!(is_rejected(send(&other, &parts, "http://api.test/b").await));
    assert_eq!(probe.calls(), 1);
    drop(call);
    // It may have been sent.
    assert!(is_rejected(send(&other, &parts, "http://api.test/a").await));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_off_rejects_a_second_operation_as_well() {
    let mut parts = claimed();
    parts.extensions.insert(NoRetry);
    let off: [RetryLayer; 2] = [steady(), steady().with_max_attempts(1).unwrap()];
    for layer in off {
        let mut parts = parts.clone();
        parts.extensions.insert(KeyClaim::new());
        let service = layer.layer(Probe::new());
        assert!(send(&service, &parts, "http://api.test/a").await.is_ok());
        assert!(is_rejected(
            send(&service, &parts, "http://api.test/b").await
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_retry_outside_may_send_one_operation() {
    let probe = Probe::new().replies([Reply::status(503), Reply::error()]);
    let inner = steady().with_max_attempts(1).unwrap();
    let stack = steady()
        .with_budget(courteous_retry::Budget::unlimited())
        .layer(inner.layer(probe.clone()));
    let response = send(&stack, &claimed(), "http://api.test/a").await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 3);
    assert_eq!(probe.calls(), 3);

    // Two in one attempt.
    let inner = steady().layer(Probe::new());
    let splitter = tower::service_fn(move |request: Request<Body>| {
        let (inner, parts) = (inner.clone(), request.into_parts().0);
        async move {
            send(&inner, &parts, "http://api.test/a").await?;
            send(&inner, &parts, "http://api.test/b").await
        }
    });
    assert!(is_rejected_inside(
        send(&steady().layer(splitter), &claimed(), "http://api.test/").await
    ));
}

fn is_rejected_inside(sent: Sent) -> bool {
    let error = sent.map(drop).unwrap_err();
    let rejected = find_cause::<Rejected>(&*error).unwrap();
    rejected.reason() == RejectReason::KeyReused
}

#[tokio::test(start_paused = true)]
async fn the_same_operation_may_follow_where_the_first_was_not_acted_on() {
    let refused = || Reply::fail(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
    let full = || Reply::fail(Rejected::new(RejectReason::QueueFull));
    type Case = (&'static str, fn() -> Reply, bool);
    let cases: [Case; 14] = [
        ("redirected", || Reply::status(307), true),
        ("redirected for good", || Reply::status(308), true),
        ("too early", || Reply::status(425), true),
        ("done, see there", || Reply::status(303), false),
        ("redirected by a GET", || Reply::status(302), false),
        ("not modified", || Reply::status(304), false),
        ("credentials", || Reply::status(401), true),
        ("proxy", || Reply::status(407), true),
        ("elsewhere", || Reply::status(421), true),
        ("never sent", refused, true),
        ("rejected here", full, true),
        ("reset", Reply::error, false),
        ("forbidden", || Reply::status(403), false),
        ("answered", Reply::ok, false),
    ];
    for (name, first, follows) in cases {
        let probe = Probe::new().otherwise(move |seen| match seen.uri.path() {
            "/a" => first(),
            _ => Reply::ok(),
        });
        let parts = claimed();
        let service = steady().layer(probe);
        let _ = send(&service, &parts, "http://api.test/a").await;
        let second = send(&service, &parts, "http://api.test/b").await;
        assert_eq!(second.is_ok(), follows, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_without_a_claim_is_the_callers_business() {
    let parts = keyed().into_parts().0;
    let service = steady().layer(Probe::new());
    for path in [
        "http://api.test/a",
        "http://api.test/a",
        "http://api.test/b",
    ] {
        assert!(send(&service, &parts, path).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_inside_of_a_retry_that_makes_one_attempt_shares_its_claim() {
    for outer in [false, true] {
        let probe = Probe::new();
        let inner = steady().layer(probe.clone());
        // As a key layer beside a caller's key: it leaves a claim that is there.
        let splitter = tower::service_fn(move |request: Request<Body>| {
            let (inner, parts) = (inner.clone(), request.into_parts().0);
            assert!(parts.extensions.get::<KeyClaim>().is_some());
            async move {
                send(&inner, &parts, "http://api.test/a").await?;
                send(&inner, &parts, "http://api.test/b").await
            }
        });
        let once = steady().with_max_attempts(1).unwrap().layer(splitter);
        let sent = match outer {
            false => send(&once, &claimed(), "http://api.test/").await,
            true => {
                let middle = steady().layer(once);
                send(&steady().layer(middle), &claimed(), "http://api.test/").await
            }
        };
        assert!(is_rejected_inside(sent));
        assert_eq!(probe.calls(), 1, "{outer}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_retry_within_another_shares_a_claim_of_its_own() {
    let probe = Probe::new().replies([Reply::status(503), Reply::error()]);
    let innermost = steady().layer(probe.clone());
    let splitter = tower::service_fn(move |request: Request<Body>| {
        let (inner, parts) = (innermost.clone(), request.into_parts().0);
        async move {
            send(&inner, &parts, "http://api.test/a").await?;
            send(&inner, &parts, "http://api.test/b").await
        }
    });
    let stack = steady().layer(steady().layer(splitter));
    assert!(is_rejected_inside(
        send(&stack, &claimed(), "http://api.test/").await
    ));
    assert_eq!(probe.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn safe_requests_of_a_keyed_call_neither_claim_its_key_nor_are_rejected() {
    let probe = Probe::new().otherwise(|seen| match seen.method {
        Method::POST => Reply::status(303),
        _ => Reply::ok(),
    });
    let service = steady().layer(probe.clone());
    let parts = claimed();
    let mut safe = parts.clone();
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        safe.method = method;
        assert!(send(&service, &safe, "http://api.test/a").await.is_ok());
    }
    assert!(send(&service, &parts, "http://api.test/a").await.is_ok());
    for method in [Method::GET, Method::HEAD] {
        safe.method = method;
        assert!(send(&service, &safe, "http://api.test/a").await.is_ok());
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        safe.method = method;
        assert!(is_rejected(
            send(&service, &safe, "http://api.test/a").await
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_for_the_key_leaves_the_record_of_the_first_operation_as_it_is() {
    let record = CallRecord::new();
    let mut parts = claimed();
    parts.extensions.insert(record.clone());
    let service = steady().layer(Probe::new().otherwise(|seen| match seen.uri.path() {
        "/a" => Reply::ok(),
        _ => Reply::never(),
    }));
    assert!(send(&service, &parts, "http://api.test/a").await.is_ok());
    assert!(is_rejected(
        send(&service, &parts, "http://api.test/b").await
    ));
    assert_eq!((record.attempts(), record.is_maybe_sent()), (1, true));
    assert!(record.is_maybe_processed());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_of_which_a_second_operation_was_rejected_may_have_been_processed() {
    let probe = Probe::new();
    let inner = steady().layer(probe.clone());
    let splitter = tower::service_fn(move |request: Request<Body>| {
        let (inner, parts) = (inner.clone(), request.into_parts().0);
        async move {
            send(&inner, &parts, "http://api.test/a").await?;
            send(&inner, &parts, "http://api.test/b").await
        }
    });
    let outer = steady();
    let record = CallRecord::new();
    let mut parts = claimed();
    parts.extensions.insert(record.clone());
    let sent = send(&outer.layer(splitter), &parts, "http://api.test/").await;
    let error = sent.map(drop).unwrap_err();
    let info = retried(&error).info();
    assert_eq!(
        (info.stop_reason(), info.attempts(), probe.calls()),
        (StopReason::Rejected, 1, 1)
    );
    assert!(info.history().is_maybe_processed());
    assert!(record.is_maybe_sent() && record.is_maybe_processed());
    assert_eq!(record.attempts(), 1);
    // Nor can the call's key be used for another operation.
    let service = outer.layer(probe);
    assert!(is_rejected(
        send(&service, &parts, "http://api.test/c").await
    ));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_for_the_key_gives_the_inner_services_permit_back() {
    let parts = claimed();
    let inner = ServiceBuilder::new()
        .concurrency_limit(1)
        .service(Probe::new());
    let mut service = steady().layer(inner.clone());
    assert!(send(&service, &parts, "http://api.test/a").await.is_ok());
    let second = Request::from_parts(parts.clone(), body("payload"));
    let ready = ServiceExt::<Request<Body>>::ready(&mut service).await;
    let call = ready.unwrap().call(second);
    assert!(is_rejected(call.await));
    let mut other = inner;
    let ready = ServiceExt::<Request<Body>>::ready(&mut other);
    let ready = timeout(Duration::from_secs(1), ready).await;
    assert!(ready.is_ok(), "the service that rejected has its permit");
    drop(service);
}
