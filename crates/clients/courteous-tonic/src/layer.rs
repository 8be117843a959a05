use std::sync::Arc;

use tower_layer::Layer;

use crate::{GrpcStatus, InvalidMethodName, methods::Methods};

/// Makes gRPC statuses of the errors of the services and layers inside.
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

    /// Names the methods whose calls may be made twice, in place of those that were named before. Default: none.
    ///
    /// All gRPC calls are POSTs, so nothing else tells a retry which of them only read. A name is `/package.Service/Method`, as
    /// the path on the wire is, or `/package.Service/*` for all methods of a service: the two forms that a gRPC service config
    /// knows.
    ///
    /// A call of such a method has [`Idempotent(true)`](courteous_core::Idempotent) among its extensions, unless the caller has
    /// put [`Idempotent`](courteous_core::Idempotent) there. Retries and dead letters inside go by that.
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
