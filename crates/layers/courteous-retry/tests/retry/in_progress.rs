//! 409 under a request's own key, and what answers earn.

use std::{io, time::Duration};

use courteous_core::{Effect, Verdict};
use courteous_retry::{Budget, HttpClassifier, Idempotent, RetryInfo, StopReason};
use courteous_testkit::{Probe, Reply};
use http::{Method, StatusCode};
use tower::Layer;

use crate::support::{keyed, request, send, steady};

#[tokio::test(start_paused = true)]
async fn a_409_under_our_own_key_after_a_lost_answer_is_waited_for() {
    let lost: [fn() -> Reply; 3] = [Reply::error, || Reply::status(500), || Reply::status(504)];
    for lost in lost {
        let probe = Probe::new().replies([lost(), Reply::status(409)]);
        let layer = steady().with_budget(Budget::unlimited());
        let response = send(&layer.layer(probe.clone()), keyed()).await.unwrap();
        assert!(response.status().is_success());
        let info = RetryInfo::of(&response);
        assert_eq!((info.attempts(), probe.calls()), (3, 3));
        assert_eq!(info.waited(), Duration::from_millis(200));
        let verdict = info.history().attempts()[1].verdict();
        let in_progress = matches!(
            verdict,
            Verdict::Transient {
                effect: Effect::InProgress,
                ..
            }
        );
        assert!(in_progress, "{verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_409_that_stays_is_a_failure_that_earns_nothing() {
    let probe = Probe::new()
        .replies([Reply::status(503)])
        .otherwise(|_| Reply::status(409));
    let layer = steady();
    let response = send(&layer.layer(probe.clone()), keyed()).await.unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let info = RetryInfo::of(&response);
    assert_eq!(
        (info.stop_reason(), probe.calls()),
        (StopReason::AttemptsExhausted, 3)
    );
    assert_eq!(layer.budget().balance(), 6.0, "eight, less two retries");
}

#[tokio::test(start_paused = true)]
async fn any_other_409_is_an_answer() {
    let refused = || Reply::fail(io::Error::from(io::ErrorKind::ConnectionRefused));
    let unkeyed = || request(Method::PUT);
    let once = || {
        let mut once = keyed();
        once.extensions_mut().insert(Idempotent(false));
        once
    };
    let cases = [
        ("the first", keyed(), vec![]),
        ("nothing was sent before", keyed(), vec![refused()]),
        ("refused before", keyed(), vec![Reply::status(429)]),
        ("without a key", unkeyed(), vec![Reply::status(500)]),
        ("the caller's word", once(), vec![refused()]),
    ];
    for (name, request, before) in cases {
        let calls = before.len() + 1;
        let probe = Probe::new()
            .replies(before)
            .otherwise(|_| Reply::status(409));
        let layer = steady().with_budget(Budget::unlimited());
        let response = send(&layer.layer(probe.clone()), request).await.unwrap();
        let info = RetryInfo::of(&response);
        assert_eq!(
            (info.stop_reason(), probe.calls()),
            (StopReason::Answered, calls),
            "{name}"
        );
    }
    // The server says that this is the answer that it has kept.
    let probe = Probe::new()
        .replies([Reply::error()])
        .otherwise(|_| Reply::status(409).header("idempotent-replayed", "true"));
    let response = send(&steady().layer(probe.clone()), keyed()).await.unwrap();
    let info = RetryInfo::of(&response);
    assert_eq!((info.stop_reason(), probe.calls()), (StopReason::Vetoed, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_refuses_earns_no_retry() {
    let earned = async |reply: Reply, classifier: HttpClassifier| {
        let budget = Budget::builder().start(0).build().unwrap();
        let layer = steady()
            .with_budget(budget.clone())
            .with_classifier(classifier);
        let probe = Probe::new().replies([reply]);
        assert!(
            send(&layer.layer(probe), request(Method::GET))
                .await
                .is_ok()
        );
        budget.balance() > 0.0
    };
    for status in [200, 201, 204, 206, 301, 304] {
        assert!(
            earned(Reply::status(status), HttpClassifier::new()).await,
            "{status}"
        );
    }
    for status in [400, 401, 403, 404, 409, 410, 412, 422, 451, 501] {
        for classifier in [HttpClassifier::new(), HttpClassifier::stripe()] {
            assert!(!earned(Reply::status(status), classifier).await, "{status}");
        }
    }
    let grpc = |status| {
        Reply::ok()
            .header("content-type", "application/grpc")
            .header("grpc-status", status)
    };
    assert!(earned(grpc("0"), HttpClassifier::new()).await);
    for status in ["5", "7", "10", "16"] {
        assert!(
            !earned(grpc(status), HttpClassifier::new()).await,
            "{status}"
        );
    }
}
