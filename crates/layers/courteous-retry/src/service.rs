use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use courteous_body::{Keep, Native};
use courteous_core::{BoxError, LayerKind, ObserveOnly};
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Budget, ResponseFuture, RetryLayer, call::Call};

/// The service that [`RetryLayer`](crate::RetryLayer) makes.
///
/// # Readiness
///
/// `poll_ready` asks the inner service, and reserves nothing. The first attempt goes to the instance that was asked; for each
/// further one, a clone is made ready, inside the response future. If a call is rejected for its key, the instance that was asked
/// is replaced by a clone, and what it has reserved is given back.
///
/// # Cancel safety
///
/// Dropping the response future ends the call: no further attempt is made. What a retry paid into the budget is given back
/// if it was dropped during its backoff, and spent if it had been handed to the inner service.
///
/// # Errors
///
/// The error of the last attempt as the source of a [`Retried`](crate::Retried). A *response* of the last attempt is
/// returned as it is, whatever its status.
///
/// [`Rejected`](courteous_core::Rejected) for [`KeyReused`](courteous_core::RejectReason::KeyReused), before anything is sent, if
/// another operation was sent under the key that a key layer has given to one. That is so where a service between the two makes
/// several requests out of one. The key may be used again if no server has acted on the first, or if the server has answered
/// with 307, 308, 401, 407, 421 or 425: what follows is the same operation. Safe requests (GET, HEAD, OPTIONS, TRACE) are neither
/// counted nor rejected.
#[derive(Clone)]
pub struct Retry<S, K = Native> {
    inner: S,
    layer: RetryLayer<K>,
}

// Here, as the service has its layer inside: so `layer` knows nothing of this module.
impl<S, K: Clone> Layer<S> for RetryLayer<K> {
    type Service = Retry<S, K>;

    fn layer(&self, inner: S) -> Retry<S, K> {
        LayerKind::Retry.check_order::<S>();
        Retry {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, K> Retry<S, K> {
    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to be changed.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The layer that the service has its settings from: a handle, which shares them.
    #[must_use]
    pub fn layer(&self) -> RetryLayer<K>
    where
        K: Clone,
    {
        self.layer.clone()
    }

    /// The budget that all retries of the layer draw on: a handle to read.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.layer.settings.budget
    }

    /// The inner service, without the retry.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, K, B, RB> Service<Request<B>> for Retry<S, K>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    K: Keep<B> + Clone,
    RB: Body,
{
    type Response = Response<RB>;
    type Error = BoxError;
    type Future = ResponseFuture<S, K, B, RB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The clone is for further attempts; the instance that was polled ready stays here, and makes the first.
        let spare = self.inner.clone();
        let RetryLayer { settings, keep } = &self.layer;
        let mut future = ResponseFuture::new(Call::new(
            spare,
            Arc::clone(settings),
            keep.clone(),
            &request,
        ));
        let begun = match ObserveOnly::active(settings.observe.as_ref()) {
            None => future.call.begin(&mut request),
            Some(switch) => {
                future.call.begin_observed(&mut request, switch.clone());
                Ok(())
            }
        };
        match begun {
            Ok(()) => future.attempt(self.inner.call(request)),
            Err(error) => {
                // Nothing is sent: what the instance has reserved is given back.
                self.inner = self.inner.clone();
                future.reject(error);
            }
        }
        future
    }
}

#[cfg(feature = "load")]
impl<S: tower::load::Load, K> tower::load::Load for Retry<S, K> {
    type Metric = S::Metric;

    fn load(&self) -> S::Metric {
        self.inner.load()
    }
}

impl<S: fmt::Debug, K> fmt::Debug for Retry<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("settings", &self.layer.settings)
            .finish_non_exhaustive()
    }
}
