//! Calls whose letters are recorded outside a Tokio runtime, where there are no timers.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use courteous_body::AnyBody;
use courteous_core::BoxError;
use courteous_dead_letter::{
    BoxFuture, DeadLetterLayer, DeadLettered, Letter, NotRecorded, NotRecordedCause, Payload,
    PushError, Sink,
};
use courteous_testkit::TestBody;
use http::{Request, Response};
use tokio::sync::oneshot;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};

use crate::support::*;

/// A sink whose only letter is durable when the test says so.
#[derive(Clone, Debug)]
struct Held(Arc<Mutex<Option<oneshot::Receiver<()>>>>);

impl Held {
    fn new() -> (Self, oneshot::Sender<()>) {
        let (durable, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(receiver)))), durable)
    }
}

impl Sink for Held {
    fn push(&self, _: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        let durable = self.0.lock().unwrap().take().expect("one letter");
        Box::pin(async move { durable.await.map_err(|_| PushError::Closed) })
    }
}

async fn unavailable(_: Request<Body>) -> Result<Response<Body>, BoxError> {
    Ok(status(503))
}

#[test]
fn a_call_waits_for_its_letter_without_a_timer_and_is_polled_again_and_again() {
    let (sink, durable) = Held::new();
    let layer = DeadLetterLayer::new(sink).with_record_timeout(Duration::MAX);
    // Without a time limit, only the sink wakes the call.
    let mut endless = task::spawn(call(&layer, post(), unavailable));
    assert_pending!(endless.poll());
    assert!(!endless.is_woken());
    durable.send(()).unwrap();
    assert!(endless.is_woken());
    let response = assert_ready!(endless.poll()).unwrap();
    assert!(DeadLettered::of(&response).is_some());

    // With a time limit, the call has to check the clock.
    let (sink, durable) = Held::new();
    let layer = DeadLetterLayer::new(sink).with_record_timeout(3600 * SECOND);
    let mut waiting = task::spawn(call(&layer, post(), unavailable));
    for _ in 0..3 {
        assert_pending!(waiting.poll());
        assert!(waiting.is_woken());
    }
    durable.send(()).unwrap();
    let response = assert_ready!(waiting.poll()).unwrap();
    assert_eq!(response.status(), 503);
    assert!(DeadLettered::of(&response).is_some());
}

#[test]
fn the_time_to_record_ends_the_wait_without_a_timer() {
    let (sink, _durable) = Held::new();
    let layer = DeadLetterLayer::new(sink).with_record_timeout(Duration::from_millis(1));
    let mut waiting = task::spawn(call(&layer, post(), unavailable));
    let response = loop {
        match waiting.poll() {
            Poll::Ready(response) => break response.unwrap(),
            // The call asks to be polled until its time is over.
            Poll::Pending => assert!(waiting.is_woken()),
        }
    };
    let not = NotRecorded::of(&response).unwrap();
    assert!(matches!(not.cause(), NotRecordedCause::TimedOut(_)));
}

#[test]
fn a_streamed_body_is_given_up_without_a_timer() {
    let sink = Scripted::default();
    let layer = DeadLetterLayer::new(sink.clone()).with_record_timeout(Duration::from_millis(2));
    // The server answers before it has read the body.
    let body = AnyBody::new(TestBody::new().chunk("a").stall());
    let request = Request::post("https://api.example.com/charges").body(body);
    let server = service_fn(async |_| Ok::<_, BoxError>(status(503)));
    let mut waiting = task::spawn(layer.layer(server).oneshot(request.unwrap()));
    while waiting.poll().is_pending() {
        assert!(waiting.is_woken());
    }
    let letters = sink.letters.lock().unwrap();
    assert_eq!(letters[0].payload, Payload::Gone);
}
