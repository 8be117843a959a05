use std::num::NonZeroU32;

use courteous_core::InvalidCount;

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
///
/// ```
/// # use http::Request;
/// use courteous_retry::MaxAttempts;
///
/// let request = Request::get("/report").extension(MaxAttempts::new(5)?).body(())?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAttempts(NonZeroU32);

impl MaxAttempts {
    /// `attempts`, the first included.
    ///
    /// # Errors
    ///
    /// If it is 0: a call has at least one attempt.
    pub const fn new(attempts: u32) -> Result<Self, InvalidCount> {
        match NonZeroU32::new(attempts) {
            Some(attempts) => Ok(Self(attempts)),
            None => Err(InvalidCount::new("max_attempts")),
        }
    }

    /// How many attempts, the first included.
    #[must_use]
    pub const fn get(self) -> NonZeroU32 {
        self.0
    }
}
