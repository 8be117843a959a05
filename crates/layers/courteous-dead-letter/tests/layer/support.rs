use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::{
    Attempt, BoxError, CallRecord, Effect, Fault, History, RetryInfo, StopReason, Verdict,
};
use courteous_dead_letter::{
    BoxFuture, Clock, DeadLetterLayer, Filter, Letter, LetterStore, MemoryStore, Page, PushError,
    Sink,
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

pub(crate) type Body = Full<Bytes>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A fixed clock, and a store and a layer that use it.
pub(crate) fn layer() -> (Clock, MemoryStore, DeadLetterLayer) {
    let clock = Clock::fixed(std::time::UNIX_EPOCH + 1_800_000_000 * SECOND);
    let store = MemoryStore::new().with_clock(clock.clone());
    let layer = DeadLetterLayer::new(store.clone()).with_clock(clock.clone());
    (clock, store, layer)
}

pub(crate) async fn letters(store: &MemoryStore) -> Vec<Letter> {
    let records = store.list(Filter::new(), Page::first(100)).await.unwrap();
    records.into_iter().map(|record| record.letter).collect()
}

pub(crate) async fn letter(store: &MemoryStore) -> Letter {
    let mut letters = letters(store).await;
    assert_eq!(letters.len(), 1);
    letters.remove(0)
}

pub(crate) fn post() -> Request<Body> {
    let body = Full::from("amount=42");
    Request::post("https://api.example.com/charges")
        .body(body)
        .unwrap()
}

pub(crate) fn status(status: u16) -> Response<Body> {
    let mut response = Response::new(Full::from("answer"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// One call through `layer` to a server that is this function.
pub(crate) async fn call<F, Fut, E>(
    layer: &DeadLetterLayer,
    request: Request<Body>,
    server: F,
) -> Result<Response<Body>, BoxError>
where
    F: Fn(Request<Body>) -> Fut,
    Fut: Future<Output = Result<Response<Body>, E>>,
    E: Into<BoxError>,
{
    layer.layer(service_fn(server)).oneshot(request).await
}

pub(crate) async fn answered(layer: &DeadLetterLayer, code: u16) -> Response<Body> {
    let server = async |_| Ok::<_, Infallible>(status(code));
    call(layer, post(), server).await.unwrap()
}

pub(crate) const NEVER_SENT: Verdict = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
pub(crate) const FAILED: Verdict = Verdict::transient(Effect::MaybeProcessed, Fault::Server);

/// What a retry reports of a call whose attempts failed like this.
pub(crate) fn info(stop: StopReason, verdicts: &[Verdict]) -> RetryInfo {
    let mut history = History::new();
    for (number, &verdict) in (1..).zip(verdicts) {
        let status = (verdict == FAILED).then_some(StatusCode::SERVICE_UNAVAILABLE);
        history.push(Attempt::new(number, Instant::now(), verdict, status));
    }
    RetryInfo::new(verdicts.len() as u32, SECOND, stop, None, history)
}

/// The record in `request`.
pub(crate) fn record_of(request: &Request<Body>) -> CallRecord {
    let record = CallRecord::of(request.extensions());
    record.expect("a record").clone()
}

/// A sink that does what it was told, and keeps the letters. A delay of `Duration::MAX` needs no
/// timer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) letters: Arc<Mutex<Vec<Letter>>>,
    pub(crate) delay: Option<Duration>,
    pub(crate) full: bool,
}

impl Sink for Scripted {
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        self.letters.lock().unwrap().push(letter);
        let Self { delay, full, .. } = *self;
        Box::pin(async move {
            match delay {
                Some(Duration::MAX) => std::future::pending().await,
                Some(delay) => tokio::time::sleep(delay).await,
                None => {}
            }
            if full { Err(PushError::Full) } else { Ok(()) }
        })
    }
}
