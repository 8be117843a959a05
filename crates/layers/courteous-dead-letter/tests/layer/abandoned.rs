use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::Poll,
};

use bytes::Bytes;
use courteous_body::AnyBody;
use courteous_core::{Attempt, CallRecord};
use courteous_dead_letter::{DeadLetterLayer, LetterOutcome, Payload, Reason};
use courteous_testkit::{Probe, Reply, TestBody};
use http::Request;
use tokio::time::Instant;
use tokio_test::task::{self, Spawn};
use tower::{Layer, ServiceExt, util::Oneshot};

use crate::support::*;

type Call = Spawn<Oneshot<courteous_dead_letter::DeadLetter<Probe>, Request<AnyBody>>>;

/// A call in flight to a server that never answers.
fn under_way(layer: &DeadLetterLayer, body: AnyBody) -> (Probe, Call) {
    let probe = Probe::new().pending_polls(0).otherwise(|_| Reply::never());
    let request = Request::post("https://api.example.com/charges")
        .body(body)
        .unwrap();
    let mut call = task::spawn(layer.layer(probe.clone()).oneshot(request));
    assert!(call.poll().is_pending());
    (probe, call)
}

#[tokio::test]
async fn a_dropped_call_is_not_recorded_by_default() {
    let (_, store, layer) = layer();
    drop(under_way(&layer, "hello".into()));
    assert!(letters(&store).await.is_empty());
}

#[tokio::test]
async fn a_dropped_call_is_handed_over_by_choice() {
    let (_, store, layer) = layer();
    let layer = layer.with_reason(Reason::Abandoned);
    drop(under_way(&layer, "hello".into()));
    let letter = letter(&store).await;
    assert_eq!(letter.failure.reason, Reason::Abandoned);
    assert_eq!(letter.payload, Payload::Whole(Bytes::from("hello")));
    // Without a retry inside, it is unknown whether the request was sent.
    assert!(letter.failure.maybe_sent);
}

#[tokio::test]
async fn a_dropped_call_knows_its_attempts_by_its_record() {
    let (_, store, layer) = layer();
    let layer = layer.with_reason(Reason::Abandoned);
    let (probe, call) = under_way(&layer, "hello".into());
    let record = CallRecord::of(&probe.seen()[0].extensions).unwrap().clone();
    record.begin_attempt();
    record.fail_attempt(Attempt::new(1, Instant::now(), NEVER_SENT, None));
    drop(call);
    let failure = letter(&store).await.failure;
    assert_eq!((failure.attempts, failure.maybe_sent), (1, false));
    assert_eq!(failure.history.len(), 1);
}

#[tokio::test]
async fn a_call_that_has_ended_is_not_abandoned() {
    let (_, store, layer) = layer();
    let layer = layer.with_reason(Reason::Abandoned);
    drop(answered(&layer, 200).await);
    assert!(letters(&store).await.is_empty());
    drop(answered(&layer, 503).await);
    assert_eq!(letter(&store).await.failure.reason, Reason::NotRetried);
}

#[tokio::test]
async fn of_a_stream_what_is_there_at_once_is_read_and_nothing_is_waited_for() {
    for (body, expected) in [
        (
            TestBody::new().chunk("a").chunk("b"),
            Payload::Whole(Bytes::from("ab")),
        ),
        (TestBody::new().chunk("a").stall(), Payload::Gone),
    ] {
        let (_, store, layer) = layer();
        let layer = layer.with_reason(Reason::Abandoned);
        drop(under_way(&layer, AnyBody::new(body)));
        assert_eq!(letter(&store).await.payload, expected);
    }
}

#[test]
fn it_needs_no_runtime_to_be_handed_over() {
    let sink = Scripted {
        delay: Some(std::time::Duration::MAX),
        ..Scripted::default()
    };
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let heard = outcomes.clone();
    let layer = DeadLetterLayer::new(sink.clone())
        .with_reason(Reason::Abandoned)
        .with_on_letter(move |event| {
            let handed_over = matches!(event.outcome(), LetterOutcome::HandedOver);
            heard.lock().unwrap().push(handed_over);
        });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let call = runtime.block_on(async { under_way(&layer, "hello".into()) });
    drop(runtime);
    drop(call);
    assert_eq!(sink.letters.lock().unwrap().len(), 1);
    assert_eq!(*outcomes.lock().unwrap(), [true]);
}

#[test]
fn a_body_is_not_read_while_a_panic_unwinds() {
    struct Fragile;
    impl http_body::Body for Fragile {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
            panic!("a panic within a panic ends the process")
        }
    }
    let sink = Scripted::default();
    let layer = DeadLetterLayer::new(sink.clone()).with_reason(Reason::Abandoned);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _call = under_way(&layer, AnyBody::new(Fragile));
        panic!("the caller's");
    }));
    assert!(unwound.is_err());
    assert_eq!(sink.letters.lock().unwrap()[0].payload, Payload::Gone);
}
