use courteous_body::AnyBodyLayer;
#[cfg(feature = "concurrency")]
use courteous_concurrency::ConcurrencyLimitLayer;
#[cfg(all(feature = "dead-letter", feature = "idempotency"))]
use courteous_dead_letter::DeadLetterLayer;
#[cfg(feature = "idempotency")]
use courteous_idempotency::IdempotencyKeyLayer;
#[cfg(feature = "retry")]
use courteous_retry::RetryLayer;
#[cfg(feature = "throttle")]
use courteous_throttle::ThrottleLayer;
#[cfg(feature = "timeout")]
use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};
use tower_layer::{Identity, Layer, Stack};

/// Composes layers, outermost first: Tower's builder, without the methods that stand in the way.
///
/// `tower::ServiceBuilder` has methods of its own that are called `retry` and `concurrency_limit`, as soon as *any* crate in
/// the build turns on Tower's features `retry` and `limit`; tonic and reqwest do. They come before those of
/// [`ServiceBuilderExt`], and do something else. This builder has none.
///
/// ```
/// use std::time::Duration;
///
/// use courteous::{
///     ServiceBuilder, ServiceBuilderExt, concurrency::ConcurrencyLimitLayer,
///     idempotency::IdempotencyKeyLayer, retry::RetryLayer, throttle::ThrottleLayer,
/// };
/// # use http_body_util::Full;
/// # let client = courteous_testing::Script::always(200).service();
///
/// let client = ServiceBuilder::new()
///     .idempotency_key(IdempotencyKeyLayer::new())
///     .total_timeout(Duration::from_secs(30))
///     .retry(RetryLayer::new())
///     .concurrency_limit(ConcurrencyLimitLayer::new(64)?)
///     .throttle(ThrottleLayer::new("100/s".parse()?))
///     .attempt_timeout(Duration::from_secs(10))
///     .service(client);
/// # let _ = courteous::check::<Full<&[u8]>, _>(client);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServiceBuilder<L> {
    layer: L,
}

impl ServiceBuilder<Identity> {
    /// A builder without layers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            layer: Identity::new(),
        }
    }
}

impl Default for ServiceBuilder<Identity> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L> ServiceBuilder<L> {
    /// Puts `layer` inside of those that are there.
    #[must_use]
    pub fn layer<T>(self, layer: T) -> ServiceBuilder<Stack<T, L>> {
        ServiceBuilder {
            layer: Stack::new(layer, self.layer),
        }
    }

    /// The layers around `service`.
    pub fn service<S>(&self, service: S) -> L::Service
    where
        L: Layer<S>,
    {
        self.layer.layer(service)
    }

    /// The layers as one.
    pub fn into_inner(self) -> L {
        self.layer
    }
}

impl<S, L: Layer<S>> Layer<S> for ServiceBuilder<L> {
    type Service = L::Service;

    fn layer(&self, service: S) -> L::Service {
        self.layer.layer(service)
    }
}

/// The layers of this crate as methods of a builder: [`ServiceBuilder`] here, and `tower::ServiceBuilder`.
///
/// For the latter, see what [`ServiceBuilder`] says about methods of the same name; `.layer(RetryLayer::new())` is always
/// understood.
pub trait ServiceBuilderExt: Sized {
    /// The builder with `T` added.
    type With<T>;

    /// Puts `layer` inside of those that are there.
    #[must_use]
    fn with_layer<T>(self, layer: T) -> Self::With<T>;

    /// Bounds whole calls, to the end of the response body: a `Duration`, or a [`TotalTimeoutLayer`].
    #[cfg(feature = "timeout")]
    #[must_use]
    fn total_timeout(self, timeout: impl Into<TotalTimeoutLayer>) -> Self::With<TotalTimeoutLayer> {
        self.with_layer(timeout.into())
    }

    /// Gives each POST and PATCH a key: see [`IdempotencyKeyLayer`].
    #[cfg(feature = "idempotency")]
    #[must_use]
    fn idempotency_key<G>(
        self,
        layer: IdempotencyKeyLayer<G>,
    ) -> Self::With<IdempotencyKeyLayer<G>> {
        self.with_layer(layer)
    }

    /// Keeps the calls that have finally failed: see [`DeadLetterLayer`].
    ///
    /// Only directly inside of the idempotency key, so that every record holds the key that was sent; anywhere else it does not
    /// compile. Where callers set their keys themselves, or nothing needs one, say `.layer(DeadLetterLayer::new(..))`.
    #[cfg(all(feature = "dead-letter", feature = "idempotency"))]
    #[must_use]
    fn dead_letter<K>(self, layer: DeadLetterLayer<K>) -> Self::With<DeadLetterLayer<K>>
    where
        Self: KeyOutside,
    {
        self.with_layer(layer)
    }

    /// Puts the request's body into an `AnyBody`, directly outside of the retry or of a whole stack: see [`AnyBodyLayer`].
    ///
    /// For a client that stands on a service and has a body of its own, such as kube's or octocrab's.
    #[must_use]
    fn any_body(self) -> Self::With<AnyBodyLayer> {
        self.with_layer(AnyBodyLayer::new())
    }

    /// Sends again what is safe to send again: see [`RetryLayer`].
    #[cfg(feature = "retry")]
    #[must_use]
    fn retry<K>(self, layer: RetryLayer<K>) -> Self::With<RetryLayer<K>> {
        self.with_layer(layer)
    }

    /// Bounds the requests in flight: see [`ConcurrencyLimitLayer`].
    #[cfg(feature = "concurrency")]
    #[must_use]
    fn concurrency_limit<P, R>(
        self,
        layer: ConcurrencyLimitLayer<P, R>,
    ) -> Self::With<ConcurrencyLimitLayer<P, R>> {
        self.with_layer(layer)
    }

    /// Bounds the requests per time: see [`ThrottleLayer`].
    #[cfg(feature = "throttle")]
    #[must_use]
    fn throttle<P, R>(self, layer: ThrottleLayer<P, R>) -> Self::With<ThrottleLayer<P, R>> {
        self.with_layer(layer)
    }

    /// Bounds each attempt: a `Duration`, or an [`AttemptTimeoutLayer`].
    #[cfg(feature = "timeout")]
    #[must_use]
    fn attempt_timeout(
        self,
        timeout: impl Into<AttemptTimeoutLayer>,
    ) -> Self::With<AttemptTimeoutLayer> {
        self.with_layer(timeout.into())
    }
}

impl<L> ServiceBuilderExt for ServiceBuilder<L> {
    type With<T> = ServiceBuilder<Stack<T, L>>;

    fn with_layer<T>(self, layer: T) -> Self::With<T> {
        self.layer(layer)
    }
}

impl<L> ServiceBuilderExt for tower::ServiceBuilder<L> {
    type With<T> = tower::ServiceBuilder<Stack<T, L>>;

    fn with_layer<T>(self, layer: T) -> Self::With<T> {
        self.layer(layer)
    }
}

/// A builder whose last layer gives keys.
#[cfg(all(feature = "dead-letter", feature = "idempotency"))]
#[diagnostic::on_unimplemented(
    message = "a dead letter has to hold the key that was sent",
    label = "the layer before this one is not the idempotency key",
    note = "call `.dead_letter(..)` directly after `.idempotency_key(..)`, which goes outside of it",
    note = "where callers set their keys themselves, or none is needed: `.layer(DeadLetterLayer::new(..))`"
)]
pub trait KeyOutside {}

#[cfg(all(feature = "dead-letter", feature = "idempotency"))]
impl<G, L> KeyOutside for ServiceBuilder<Stack<IdempotencyKeyLayer<G>, L>> {}

#[cfg(all(feature = "dead-letter", feature = "idempotency"))]
impl<G, L> KeyOutside for tower::ServiceBuilder<Stack<IdempotencyKeyLayer<G>, L>> {}
