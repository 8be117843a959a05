use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use courteous_core::RequestView;
use http::{HeaderValue, Request};
use tower_service::Service;

use crate::{Generator, RandomUuid, layer::Settings};

/// Gives each call one idempotency key: the service that
/// [`IdempotencyKeyLayer`](crate::IdempotencyKeyLayer) makes.
///
/// A request that has the header field already, with any value, is left as it is: it is the caller
/// who knows when an operation is the same as before. Responses, errors and the response future are
/// the inner service's own.
///
/// The header value is not marked as sensitive, so that it can be seen in logs, where one looks for
/// what became of an operation. It gives nobody access to anything.
///
/// # Readiness
/// The inner service's.
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

    /// Unwraps the inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, G: Generator> IdempotencyKey<S, G> {
    /// The key that `request` is to get; `None` if it is to be left as it is.
    fn key_for(&self, request: RequestView<'_>) -> Option<HeaderValue> {
        let settings = &*self.settings;
        // A few names are compared faster than one is hashed.
        let has_key = || {
            request
                .headers()
                .keys()
                .any(|name| *name == settings.header)
        };
        if !settings.methods.contains(request.method())
            || has_key()
            || !settings.hosts.include(request)
        {
            return None;
        }
        settings.format.write(self.generator.key(request)?)
    }
}

impl<S, G, B> Service<Request<B>> for IdempotencyKey<S, G>
where
    S: Service<Request<B>>,
    G: Generator,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(key) = self.key_for(RequestView::of(&request)) {
            #[cfg(feature = "tracing")]
            tracing::trace!(?key, "idempotency key added");
            let name = self.settings.header.clone();
            request.headers_mut().insert(name, key);
        }
        self.inner.call(request)
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
