//! The events that the layer sends to a subscriber.

use courteous_core::BoxError;
use courteous_testkit::Events;

use courteous_dead_letter::{DeadLetterLayer, Reason};
use http::{Request, Response};
use tokio_test::{assert_pending, task};

use crate::support::*;

fn secret() -> Request<Body> {
    let request = Request::put("https://me:word@api.example/t0ken?key=k3y");
    request.body(Body::default()).unwrap()
}

fn without_id(events: Vec<String>) -> Vec<String> {
    let without = |line: String| {
        let words = line.split(' ').filter(|word| !word.starts_with("id="));
        words.collect::<Vec<_>>().join(" ")
    };
    events.into_iter().map(without).collect()
}

#[tokio::test(start_paused = true)]
async fn a_letter_names_reason_status_method_and_origin() {
    let events = Events::listen();
    let (_, _, layer) = layer();
    let unavailable = async |_| Ok::<_, BoxError>(status(503));
    let reset = async |_| Err::<Response<Body>, _>(BoxError::from("reset"));
    let _ = call(&layer, secret(), unavailable).await;
    let _ = call(&layer, secret(), reset).await;
    let full = Scripted {
        full: true,
        ..Scripted::default()
    };
    let _ = call(&DeadLetterLayer::new(full), secret(), unavailable).await;
    let observing = layer.observe_only(true);
    let _ = call(&observing, secret(), unavailable).await;
    let of = "method=PUT origin=https://api.example";
    let expected = [
        format!("INFO courteous::dead_letter recorded reason=not_retried status=503 {of}"),
        format!("INFO courteous::dead_letter recorded reason=not_retried {of}"),
        format!(
            "ERROR courteous::dead_letter not_recorded reason=not_retried cause=rejected error={} status=503 {of}",
            courteous_dead_letter::PushError::Full
        ),
        format!(
            "DEBUG courteous::dead_letter recorded observed=true reason=not_retried status=503 {of}"
        ),
    ];
    assert_eq!(without_id(events.take()), expected);
}

#[tokio::test(start_paused = true)]
async fn a_letter_of_a_dropped_call_is_handed_over() {
    let events = Events::listen();
    let never_durable = Scripted {
        delay: Some(std::time::Duration::MAX),
        ..Scripted::default()
    };
    let layer = DeadLetterLayer::new(never_durable).with_reason(Reason::Abandoned);
    let silent = async |_| std::future::pending::<Result<Response<Body>, BoxError>>().await;
    let mut waiting = task::spawn(call(&layer, secret(), silent));
    assert_pending!(waiting.poll());
    drop(waiting);
    // The same, while the letter of a failed call is being recorded.
    let unavailable = async |_| Ok::<_, BoxError>(status(503));
    let mut recording = task::spawn(call(&layer, secret(), unavailable));
    assert_pending!(recording.poll());
    drop(recording);
    let of = "method=PUT origin=https://api.example";
    let expected = [
        format!("INFO courteous::dead_letter handed_over reason=abandoned {of}"),
        format!("INFO courteous::dead_letter handed_over reason=not_retried status=503 {of}"),
    ];
    assert_eq!(without_id(events.take()), expected);
}
