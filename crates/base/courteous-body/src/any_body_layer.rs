use tower_layer::Layer;

use crate::AnyBodyService;

/// Gives the inner client an [`AnyBody`](crate::AnyBody), whatever body the request has.
///
/// For a caller with its own request body type, such as kube's or octocrab's: a retry cannot keep
/// that type for another attempt, but keeps an `AnyBody`. Put this layer directly outside the
/// retry, or outside a whole stack. See [`AnyBodyService`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyBodyLayer(());

impl AnyBodyLayer {
    /// The layer. It has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for AnyBodyLayer {
    type Service = AnyBodyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AnyBodyService::new(inner)
    }
}
