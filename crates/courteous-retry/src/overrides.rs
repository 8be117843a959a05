use std::num::NonZeroU32;

/// A request extension: this request is sent once, whatever the layer is set to.
///
/// ```
/// # use http::Request;
/// use courteous_retry::NoRetry;
///
/// let request = Request::get("/probe").extension(NoRetry).body(())?;
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a marker")]
pub struct NoRetry;

/// A request extension: how many attempts this request may have, the first included, instead of what the layer is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a value for callers to make")]
pub struct MaxAttempts(pub NonZeroU32);
