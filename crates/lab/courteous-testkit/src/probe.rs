use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, MutexGuard},
    task::{Context, Poll, ready},
    time::Duration,
};

use courteous_core::{BoxError, CallContext};
use http::{Request, Response};
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

use crate::{
    BodyCount, CountingBody, Latch, ProbeError, ProbeFuture, Reply, Seen, SeenBody, TestBody,
    shared::{Readiness, Shared, State},
};

/// An inner service that catches layers which break the [`Service`] contract.
///
/// Each clone is *not ready* until it was polled: by default it is pending once, and wakes its task. It loses its
/// readiness with each call and hands none of it to its clones. A call of an instance that was not polled ready panics.
///
/// All clones share one script and one record; any of them can be asked and told. Without a script every call is answered
/// at once with 200 and an empty body.
///
/// ```
/// use std::time::Duration;
///
/// use courteous_testkit::{Probe, Reply};
///
/// let probe = Probe::new()
///     .replies([Reply::status(503).header("retry-after", "1"), Reply::error()])
///     .otherwise(|seen| Reply::ok().body(seen.uri.path().to_owned()).after(Duration::from_millis(5)));
/// assert_eq!(probe.calls(), 0);
/// ```
pub struct Probe {
    shared: Arc<Shared>,
    instance: usize,
    polls: usize,
    pausing: Option<Pin<Box<Sleep>>>,
    ready: Option<Readiness>,
}

impl Probe {
    /// A probe that answers 200 at once, and whose instances are pending once before they are ready.
    #[must_use]
    pub fn new() -> Self {
        let readiness = Latch::new();
        readiness.open();
        let state = State {
            script: VecDeque::new(),
            otherwise: Arc::new(|_| Reply::ok()),
            pending_polls: 1,
            pending_for: None,
            readiness,
            broken: false,
            reads_bodies: false,
            seen: Vec::new(),
            instances: 1,
            ready_held: 0,
            in_flight: 0,
            dropped: 0,
        };
        Self {
            shared: Arc::new(Shared::new(state)),
            instance: 0,
            polls: 0,
            pausing: None,
            ready: None,
        }
    }

    /// Answers the next calls with `replies`, in order: added to what is in the script already.
    #[must_use]
    pub fn replies(self, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.script(replies);
        self
    }

    /// Answers all calls beyond the script with `reply`.
    #[must_use]
    pub fn otherwise(self, reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        self.lock().otherwise = Arc::new(reply);
        self
    }

    /// Makes each instance pending `polls` times before it is ready, woken at once. 0: ready at the first poll.
    #[must_use]
    pub fn pending_polls(self, polls: usize) -> Self {
        self.lock().pending_polls = polls;
        self
    }

    /// Makes each instance pending for `pause` on Tokio's clock before it is ready.
    #[must_use]
    pub fn pending_for(self, pause: Duration) -> Self {
        self.lock().pending_for = Some(pause);
        self
    }

    /// Reads each request's body to its end before anything else of the reply, into [`Seen::body`].
    #[must_use]
    pub fn reading_bodies(self) -> Self {
        self.lock().reads_bodies = true;
        self
    }

    /// Adds `replies` to the script, also after calls were made.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.lock().script.extend(replies);
    }

    /// Makes every `poll_ready` from now on fail with [`ProbeError::Readiness`].
    pub fn break_readiness(&self) {
        self.lock().broken = true;
        self.lock().readiness.open();
    }

    /// Lets no instance become ready until [`allow_readiness`](Self::allow_readiness). Those that are ready stay so.
    pub fn withhold_readiness(&self) {
        self.lock().readiness.close();
    }

    /// Ends [`withhold_readiness`](Self::withhold_readiness), and wakes those that wait for it.
    pub fn allow_readiness(&self) {
        let readiness = self.lock().readiness.clone();
        readiness.open();
    }

    /// All requests so far, in the order in which they came.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.lock().seen.len()
    }

    /// When each call was made, on Tokio's clock.
    #[must_use]
    pub fn instants(&self) -> Vec<Instant> {
        self.lock().seen.iter().map(|seen| seen.at).collect()
    }

    /// How many response futures have neither resolved nor been dropped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// How many response futures were dropped before they resolved.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.lock().dropped
    }

    /// How many living instances are ready and were not called: zero while a layer waits.
    #[must_use]
    pub fn ready_held(&self) -> usize {
        self.lock().ready_held
    }

    /// How many instances there ever were: clones, and the first one.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.lock().instances
    }

    /// The number of this instance, from 0 in the order of cloning.
    #[must_use]
    pub const fn instance(&self) -> usize {
        self.instance
    }

    /// The count of the response bodies.
    #[must_use]
    pub fn bodies(&self) -> &BodyCount {
        &self.shared.bodies
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        let mut state = self.lock();
        let instance = state.instances;
        state.instances += 1;
        Self {
            shared: self.shared.clone(),
            instance,
            polls: 0,
            pausing: None,
            ready: None,
        }
    }
}

impl<B> Service<Request<B>> for Probe
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<CountingBody<TestBody>>;
    type Error = BoxError;
    type Future = ProbeFuture<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.ready.is_some() {
            return Poll::Ready(Ok(()));
        }
        let (broken, readiness, pending_polls, pending_for) = {
            let state = self.lock();
            let readiness = state.readiness.clone();
            let pending = (state.pending_polls, state.pending_for);
            (state.broken, readiness, pending.0, pending.1)
        };
        if broken {
            return Poll::Ready(Err(ProbeError::Readiness.into()));
        }
        if self.polls < pending_polls {
            self.polls += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(pause) = pending_for {
            let pausing = self.pausing.get_or_insert_with(|| Box::pin(sleep(pause)));
            ready!(pausing.as_mut().poll(cx));
        }
        ready!(readiness.poll_open(cx));
        if self.lock().broken {
            return Poll::Ready(Err(ProbeError::Readiness.into()));
        }
        self.ready = Some(Readiness::new(&self.shared));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ProbeFuture<B> {
        assert!(
            self.ready.take().is_some(),
            "a layer called an instance that was not polled ready"
        );
        self.polls = 0;
        self.pausing = None;
        let (parts, body) = request.into_parts();
        let seen = Seen {
            at: Instant::now(),
            instance: self.instance,
            context: CallContext::of(&parts.extensions),
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: parts.headers,
            extensions: parts.extensions,
            body: SeenBody::default(),
        };
        let (index, scripted, otherwise, unread) = {
            let mut state = self.lock();
            let index = state.seen.len();
            state.in_flight += 1;
            state.seen.push(seen.clone());
            let scripted = state.script.pop_front();
            (index, scripted, state.otherwise.clone(), state.reads_bodies)
        };
        // Not under the lock: the closure may ask the probe.
        let reply = scripted.unwrap_or_else(|| otherwise(&seen));
        ProbeFuture::new(self.shared.clone(), index, body, unread, reply)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("instance", &self.instance)
            .field("ready", &self.ready.is_some())
            .finish_non_exhaustive()
    }
}
