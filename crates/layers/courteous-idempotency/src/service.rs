use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use courteous_core::{
    BoxError, CallKeys, CallRecord, Decision, KeyClaim, KeyField, NoteKind, ObserveOnly,
    RejectReason, Rejected, RequestView,
};
use http::{HeaderValue, Request};
use tower_service::Service;

use crate::{Generator, KeySettings, RandomUuid, ResponseFuture, events, settings::Settings};

/// Gives each call one idempotency key: the service that
/// [`IdempotencyKeyLayer`](crate::IdempotencyKeyLayer) makes.
///
/// A key that the caller has set is left as it is: the caller knows when an operation is the same as
/// before. A blank field is no key: it is replaced, or taken out if the generator has no key for the
/// request. Responses and errors are the inner service's own.
///
/// The header value is not marked as sensitive, so that it can be seen in logs, where one looks for
/// what became of an operation. It gives access to nothing.
///
/// A key is for one operation. A service further in that makes several requests out of one would send
/// them all under its key: a retry inside of that service rejects the second one, with [`Rejected`]
/// for [`RejectReason::KeyReused`]. Where no retry is, the second request cannot be seen. So whatever
/// makes several requests of one goes outside of this layer.
///
/// # Readiness
/// The inner service's. A call that is rejected leaves what that has reserved for the next call.
///
/// # Errors
/// [`Rejected`] for [`RejectReason::MalformedKey`] if the caller has set a field that holds no key:
/// see [`KeyField::Malformed`]. The request is not sent, as the server could not recognise it again.
/// For [`RejectReason::NoKey`] if a key was to be drawn, and the operating system had no random bytes.
/// For [`RejectReason::KeyReused`] inside of a retry that repeats what may have been processed, if two
/// requests of one attempt would have one key: see [`RandomUuid`].
#[derive(Clone)]
pub struct IdempotencyKey<S, G = RandomUuid> {
    inner: S,
    settings: Arc<Settings>,
    generator: G,
}

impl<S, G> IdempotencyKey<S, G> {
    pub(crate) const fn new(inner: S, settings: Arc<Settings>, generator: G) -> Self {
        Self {
            inner,
            settings,
            generator,
        }
    }

    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// All settings that a file can state, as they are now.
    #[must_use]
    pub fn settings(&self) -> KeySettings {
        self.settings.all()
    }

    /// The switch that says whether the layer only observes. `None`: it enforces.
    #[must_use]
    pub fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.settings.observe.as_ref()
    }

    /// Unwraps the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// What becomes of a request's key field.
enum Change {
    /// It is not touched.
    Keep,
    /// It holds a key of the caller's.
    Claim,
    Add(HeaderValue),
    Remove,
    Reject(RejectReason),
}

impl<S, G: Generator> IdempotencyKey<S, G> {
    fn change(&self, request: RequestView<'_>) -> Change {
        let settings = &*self.settings;
        if !settings.methods.contains(request.method()) {
            return Change::Keep;
        }
        let field = KeyField::of(request.headers(), &settings.header);
        if !settings.hosts.include(request) {
            return Change::Keep;
        }
        match field {
            KeyField::Key(_) => return Change::Claim,
            KeyField::Malformed => return Change::Reject(RejectReason::MalformedKey),
            KeyField::Missing | KeyField::Blank => {}
        }
        let Ok(key) = self.generator.key(request) else {
            return Change::Reject(RejectReason::NoKey);
        };
        match key.and_then(|key| settings.format.write(key)) {
            Some(key) => {
                let sent = request.extensions().get::<CallKeys>();
                match sent.is_none_or(|sent| sent.add(&key)) {
                    true => Change::Add(key),
                    false => Change::Reject(RejectReason::KeyReused),
                }
            }
            None if field == KeyField::Blank => Change::Remove,
            None => Change::Keep,
        }
    }
}

impl Settings {
    /// Counts and tells what would become of a request that is only observed.
    #[cold]
    fn observe(&self, request: RequestView<'_>, switch: &ObserveOnly) {
        if !self.methods.contains(request.method()) || !self.hosts.include(request) {
            return;
        }
        let decision = match KeyField::of(request.headers(), &self.header) {
            KeyField::Key(_) => return,
            KeyField::Malformed => Decision::KeyReject,
            KeyField::Missing | KeyField::Blank => Decision::Key,
        };
        switch.record(decision);
        match decision {
            Decision::KeyReject => events::rejected(request, RejectReason::MalformedKey, true),
            _ => events::key_added(request, None),
        }
    }
}

impl<S, G, B> Service<Request<B>> for IdempotencyKey<S, G>
where
    S: Service<Request<B>, Error: Into<BoxError>>,
    G: Generator,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let name = &self.settings.header;
        let change = match ObserveOnly::active(self.settings.observe.as_ref()) {
            None => self.change(RequestView::of(&request)),
            Some(switch) => {
                self.settings.observe(RequestView::of(&request), switch);
                Change::Keep
            }
        };
        match change {
            Change::Keep => {}
            // One that is there is of a key layer further out, whose key this is.
            Change::Claim => {
                request.extensions_mut().get_or_insert_default::<KeyClaim>();
            }
            Change::Add(key) => {
                events::key_added(RequestView::of(&request), Some(&key));
                request.headers_mut().insert(name.clone(), key);
                request.extensions_mut().insert(KeyClaim::new());
            }
            Change::Remove => {
                request.headers_mut().remove(name);
            }
            Change::Reject(reason) => {
                events::rejected(RequestView::of(&request), reason, false);
                CallRecord::note_in(request.extensions(), NoteKind::Rejected(reason));
                return ResponseFuture::rejected(Rejected::new(reason));
            }
        }
        ResponseFuture::call(self.inner.call(request))
    }
}

impl<S: fmt::Debug, G> fmt::Debug for IdempotencyKey<S, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKey")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load, G> tower::load::Load for IdempotencyKey<S, G> {
    type Metric = S::Metric;

    fn load(&self) -> Self::Metric {
        self.inner.load()
    }
}
