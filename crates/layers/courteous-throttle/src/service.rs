use std::{
    fmt,
    task::{Context, Poll},
};

use courteous_core::{CallContext, Decision, ObserveOnly, OriginHashes, RequestView, WaitedFor};
use courteous_limit::{Observed, Waiting};
use http::{Request, Response};
use tower_service::Service;

use crate::{
    AsError, Ask, Bucket, Cost, Partition, Reject, ResponseFuture, Take, ThrottleSettings,
    ThrottleSnapshot, TokenStore,
    events::{self, Subject},
    listen::Listen,
    settings::Settings,
    told::Told,
};

/// Makes every call wait for its token: see [`ThrottleLayer`](crate::ThrottleLayer).
///
/// # Readiness
///
/// `poll_ready` asks only the inner service. If a call finds a token, and no other call waits, it
/// calls the very instance that was polled ready. If a call has to wait or is rejected, it first
/// gives that readiness back: it replaces the instance by a fresh clone. When its turn comes, it
/// readies a clone of its own. So a waiting call holds nothing of the inner service.
///
/// # Cancel safety
///
/// If a waiting response future is dropped, it gives up its place, and gives back what it was
/// granted. Once the inner service was called, the token is spent, as the request may have been
/// sent.
#[derive(Clone)]
pub struct Throttle<S, P = Bucket, R = AsError> {
    inner: S,
    partition: P,
    reject: R,
    settings: Settings,
    observe: Option<ObserveOnly>,
}

impl<S, P, R> Throttle<S, P, R> {
    pub(crate) const fn new(
        inner: S,
        partition: P,
        reject: R,
        settings: Settings,
        observe: Option<ObserveOnly>,
    ) -> Self {
        Self {
            inner,
            partition,
            reject,
            settings,
            observe,
        }
    }

    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, as a mutable reference.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service without the throttle.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// The switch that says whether the layer only observes. `None` means that the layer enforces.
    #[must_use]
    pub const fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.observe.as_ref()
    }

    /// The partition that the service draws on.
    #[must_use]
    pub const fn partition(&self) -> &P {
        &self.partition
    }
}

impl<S, P: Partition, R> Throttle<S, P, R> {
    /// All settings, as they are now: see
    /// [`ThrottleLayer::settings`](crate::ThrottleLayer::settings).
    #[must_use]
    pub fn settings(&self) -> ThrottleSettings {
        self.settings.plain(self.partition.rates())
    }

    /// What is in force now, if the partition tells it: see [`Partition::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Option<ThrottleSnapshot> {
        self.partition.snapshot()
    }
}

impl<S, P, R, B, RB> Service<Request<B>> for Throttle<S, P, R>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    P: Partition,
    R: Reject<RB, S::Error> + Clone,
{
    type Response = Response<RB>;
    type Error = R::Error;
    type Future = ResponseFuture<S::Future, S, B, P::Store, <P::Store as TokenStore>::Turn, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), R::Error>> {
        self.inner.poll_ready(cx).map_err(R::error)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let extensions = request.extensions();
        let context = extensions.get::<CallContext>();
        let head = RequestView::of(&request);
        // Only the partition is given the hashes: if it needs none, nothing is left of them.
        let hashes = OriginHashes::of(context);
        let store = self.partition.select(head.with_hashes(&hashes));
        let target = self.settings.target(head);
        // Often there are no other extensions, and then nothing else is looked up.
        let has_more = extensions.len() > usize::from(context.is_some());
        let given = has_more.then(|| extensions.get::<Cost>()).flatten();
        let mut ask = self.settings.ask(head, context, target, given);
        let mut settle = given.and_then(|cost| cost.price(&mut ask, &store));
        let switch = ObserveOnly::active(self.observe.as_ref());
        let take = match switch {
            None => store.take(&ask),
            Some(switch) => {
                observe(&request, &store, &ask, switch);
                settle = None;
                Take::Taken
            }
        };
        hashes.carry(request.extensions_mut());
        match take {
            Take::Taken => {
                let subject = Subject::of(&request);
                let told = Told::of(switch, request.extensions(), has_more);
                let listen = Listen::new(store, target, &self.settings, told, subject);
                ResponseFuture::called(self.inner.call(request), listen, settle)
            }
            Take::Wait(turn) => {
                // Gives the readiness back. The wait may be long, and the instance may hold a
                // permit.
                self.inner = self.inner.clone();
                let subject = Subject::of(&request);
                let told = Told::of(None, request.extensions(), has_more);
                let listen = Listen::new(store, target, &self.settings, told, subject);
                let service = self.inner.clone();
                let reject = self.reject.clone();
                let waiting = Waiting::new(turn, service, request, reject, WaitedFor::Throttle);
                ResponseFuture::waiting(waiting, listen, settle)
            }
            Take::Rejected(rejected) => {
                self.inner = self.inner.clone();
                events::rejected(RequestView::of(&request), &rejected, false);
                ResponseFuture::rejected(rejected, self.reject.clone())
            }
        }
    }
}

/// Counts what would have become of a call that is only observed, and tells of it.
#[cold]
fn observe<B>(request: &Request<B>, store: &impl TokenStore, ask: &Ask, switch: &ObserveOnly) {
    let Some(store) = store.observed() else {
        return;
    };
    match store.take(&ask.without_charge()) {
        Observed::Now => {}
        Observed::Wait(wait) => {
            switch.record_wait(Decision::ThrottleWait, wait);
            events::waiting(RequestView::of(request), wait);
        }
        Observed::Rejected(rejected) => {
            switch.record(Decision::ThrottleReject);
            events::rejected(RequestView::of(request), &rejected, true);
        }
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load, P, R> tower::load::Load for Throttle<S, P, R> {
    type Metric = S::Metric;

    fn load(&self) -> Self::Metric {
        self.inner.load()
    }
}

impl<S: fmt::Debug, P: fmt::Debug, R> fmt::Debug for Throttle<S, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("inner", &self.inner)
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}
