use std::num::NonZeroU32;

/// What one request costs, in tokens: an extension of the request, which goes before the layer's own
/// [`with_cost`](crate::ThrottleLayer::with_cost).
///
/// Without either, a request costs one token. One that costs more than a bucket can hold is refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cost(pub NonZeroU32);
