use courteous_core::CallContext;
use http::{Extensions, HeaderMap, Method, Uri, Version};
use tokio::time::Instant;

/// One request as the [`Probe`](crate::Probe) received it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// When `call` was called.
    pub at: Instant,
    /// Which instance was called: the number of [`Probe::instance`](crate::Probe::instance).
    pub instance: usize,
    /// The method.
    pub method: Method,
    /// The URI.
    pub uri: Uri,
    /// The version.
    pub version: Version,
    /// The header fields.
    pub headers: HeaderMap,
    /// The extensions.
    pub extensions: Extensions,
    /// The call context among the extensions; an empty one if there was none.
    pub context: CallContext,
    /// The body, so far as it was read: see [`Probe::reading_bodies`](crate::Probe::reading_bodies).
    pub body: SeenBody,
}

/// A request's body as far as the [`Probe`](crate::Probe) has read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenBody {
    /// All data so far.
    pub data: Vec<u8>,
    /// How many frames of data there were.
    pub chunks: usize,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
    /// Whether the body has ended well.
    pub ended: bool,
    /// How the body failed.
    pub error: Option<String>,
}
