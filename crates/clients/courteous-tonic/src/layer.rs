use std::sync::Arc;

use tower_layer::Layer;

use crate::{GrpcStatus, InvalidMethodName, methods::Methods};

/// Turns the errors of the inner services and layers into gRPC statuses.
///
/// Put it outermost, next to the generated client. `courteous::Stack::grpc()` has it there.
#[derive(Clone, Debug, Default)]
pub struct GrpcStatusLayer {
    idempotent: Option<Arc<Methods>>,
}

impl GrpcStatusLayer {
    /// The layer, with no method called idempotent.
    #[must_use]
    pub const fn new() -> Self {
        Self { idempotent: None }
    }

    /// Names the methods whose calls may be made twice, in place of all names given before.
    /// Default: none.
    ///
    /// All gRPC calls are POSTs, so nothing else tells a retry which methods only read. A name is
    /// `/package.Service/Method`, like the path on the wire, or `/package.Service/*` for all
    /// methods of a service. A gRPC service config knows the same two forms.
    ///
    /// A call of such a method has [`Idempotent(true)`](courteous_core::Idempotent) among its
    /// extensions, unless the caller has put [`Idempotent`](courteous_core::Idempotent) there.
    /// Inner retries and dead letters use it.
    ///
    /// ```
    /// # use courteous_tonic::GrpcStatusLayer;
    /// let names = ["/helloworld.Greeter/SayHello", "/grpc.health.v1.Health/*"];
    /// let layer = GrpcStatusLayer::new().with_idempotent_methods(names)?;
    /// # Ok::<_, courteous_tonic::InvalidMethodName>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a name has another form.
    pub fn with_idempotent_methods<I>(mut self, names: I) -> Result<Self, InvalidMethodName>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.idempotent = Some(Arc::new(Methods::named(names)?));
        Ok(self)
    }
}

impl<S> Layer<S> for GrpcStatusLayer {
    type Service = GrpcStatus<S>;

    fn layer(&self, inner: S) -> GrpcStatus<S> {
        GrpcStatus::with_idempotent(inner, self.idempotent.clone())
    }
}
