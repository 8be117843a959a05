use std::{fmt, future::poll_fn};

use bytes::Bytes;
use courteous_core::BoxError;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower_layer::{Layer, Stack};

use super::Client;
use crate::{PATIENCE, Probe, Reply};

/// A layer, or a stack of them, that the contract is checked for, and what the check must know about it.
pub struct Subject<L> {
    pub(super) layer: L,
    pub(super) behind: Option<usize>,
    pub(super) after_failure: bool,
    pub(super) attempts: usize,
    pub(super) apart: Option<usize>,
    gauges: Vec<Gauge>,
}

struct Gauge {
    name: &'static str,
    start: usize,
    read: Box<dyn Fn() -> usize>,
}

impl<L> Subject<L> {
    /// A layer that never lets a call wait, and makes one attempt.
    pub fn new(layer: L) -> Self {
        Self {
            layer,
            behind: None,
            after_failure: false,
            attempts: 1,
            apart: None,
            gauges: Vec::new(),
        }
    }

    /// While `calls` are in flight, or right after so many, the next call waits: in the layer's own queue, without having
    /// reached the inner service. It may go on when the others are over, or when time has passed.
    #[must_use]
    pub fn waits_behind(mut self, calls: usize) -> Self {
        self.behind = Some(calls);
        self
    }

    /// What happens to calls of one origin changes nothing for others. Once `calls` of an origin were answered with a 429 that
    /// asks for a pause, and their responses are kept, the next one is held up.
    #[must_use]
    pub fn keeps_origins_apart(mut self, calls: usize) -> Self {
        self.apart = Some(calls);
        self
    }

    /// A call that is answered with 503 is tried again: up to `attempts` times in all (the first included), with a wait
    /// before each further one, which is not left to chance. A budget must allow for that once.
    #[must_use]
    pub fn retries(mut self, attempts: usize) -> Self {
        self.after_failure = true;
        self.attempts = attempts;
        self
    }

    /// A number that is the same before a call is made and after nothing is left of it: permits in use, waiters in a
    /// queue. Not one that a call changes for good, such as the tokens that it has spent.
    #[must_use]
    pub fn gauge(mut self, name: &'static str, read: impl Fn() -> usize + 'static) -> Self {
        let start = read();
        let read = Box::new(read);
        self.gauges.push(Gauge { name, start, read });
        self
    }

    /// The stack of this layer around `inner`, with what is known about both.
    #[must_use]
    pub fn around<I>(self, inner: Subject<I>) -> Subject<Stack<I, L>> {
        let behind = [self.behind, inner.behind].into_iter().flatten().min();
        let mut gauges = self.gauges;
        gauges.extend(inner.gauges);
        // Together they may share more than either does.
        let apart = None;
        Subject {
            layer: Stack::new(inner.layer, self.layer),
            behind,
            after_failure: self.after_failure || inner.after_failure,
            attempts: self.attempts.max(inner.attempts),
            apart,
            gauges,
        }
    }

    /// Panics if a gauge does not read as at the start.
    pub(super) fn assert_nothing_held(&self, probe: &Probe, when: &dyn fmt::Display) {
        for gauge in &self.gauges {
            let (name, now) = (gauge.name, (gauge.read)());
            assert_eq!(now, gauge.start, "{name}: not as at the start, {when}");
        }
        assert_eq!(probe.in_flight(), 0, "inner calls in flight, {when}");
        assert_eq!(probe.ready_held(), 0, "inner readiness held, {when}");
        assert_eq!(probe.bodies().alive(), 0, "response bodies held, {when}");
    }
}

impl<L: Layer<Probe, Service: Client>> Subject<L> {
    pub(super) fn service(&self, probe: &Probe) -> L::Service {
        self.layer.layer(probe.clone())
    }

    /// Fails as many calls as the layer makes up for.
    pub(super) fn fail_first(&self, probe: &Probe) {
        probe.script((1..self.attempts).map(|_| unavailable()));
    }
}

impl<L: fmt::Debug> fmt::Debug for Subject<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}

/// Something in the request's extensions that belongs to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker(pub(super) &'static str);

/// An idempotent request, so that all may retry it, with something in each of its parts.
pub(super) fn request() -> Request<Full<Bytes>> {
    let mut request = Request::put("http://contract.test/path?query");
    if let Some(extensions) = request.extensions_mut() {
        extensions.insert(Marker("the caller's"));
    }
    request
        .version(http::Version::HTTP_2)
        .header("x-caller", "one")
        .header("x-caller", "two")
        .body(Full::from("the request's body"))
        .unwrap()
}

pub(super) fn unavailable() -> Reply {
    Reply::status(503).body("not now")
}

/// Readies the service and calls it.
pub(super) async fn send<C: Client>(service: &mut C) -> Result<Response<C::Body>, BoxError> {
    ready(service).await?;
    service.call(request()).await.map_err(Into::into)
}

pub(super) async fn ready<C: Client>(service: &mut C) -> Result<(), BoxError> {
    poll_fn(|cx| service.poll_ready(cx))
        .await
        .map_err(Into::into)
}

/// Sends, expects 200, and reads the body to its end.
pub(super) async fn succeed<C: Client>(service: &mut C) {
    let response = send(service).await.unwrap();
    assert_eq!(response.status(), 200);
    read(response).await.unwrap();
}

pub(super) async fn read<B>(response: Response<B>) -> Result<Bytes, BoxError>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let collected = response.into_body().collect().await.map_err(Into::into)?;
    Ok(collected.to_bytes())
}

/// Runs on a paused clock. Panics where nothing can happen any more.
pub(super) fn paused<T>(check: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(24 * PATIENCE, check).await })
        .expect("something waits for ever")
}
