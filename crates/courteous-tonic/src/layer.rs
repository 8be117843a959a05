use tower_layer::Layer;

use crate::GrpcStatus;

/// Makes gRPC statuses of the errors of the services and layers inside.
///
/// Put it outermost, next to the generated client.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcStatusLayer(());

impl GrpcStatusLayer {
    /// There is nothing to configure.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for GrpcStatusLayer {
    type Service = GrpcStatus<S>;

    fn layer(&self, inner: S) -> GrpcStatus<S> {
        GrpcStatus::new(inner)
    }
}
