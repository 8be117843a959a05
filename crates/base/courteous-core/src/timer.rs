use std::{error::Error, fmt};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until},
};

/// A call has to wait, and no Tokio runtime is there to wake it.
///
/// Says nothing about whether the server acted on the request. No retry helps: call the client from within a Tokio runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoRuntime;

/// A timer until `deadline`, on the runtime that the caller runs in.
///
/// # Errors
///
/// [`NoRuntime`] outside of a Tokio runtime.
///
/// # Panics
///
/// On a runtime without its time driver (`Builder::enable_time`): Tokio does not tell in advance whether a runtime has one.
// Inlined, so that the timer is made where it is kept, and not moved there.
#[inline]
pub fn timer(deadline: Instant) -> Result<Sleep, NoRuntime> {
    match has_runtime() {
        true => Ok(sleep_until(deadline)),
        false => Err(NoRuntime),
    }
}

fn has_runtime() -> bool {
    Handle::try_current().is_ok()
}

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a wait needs a timer, and the call was polled outside of a Tokio runtime")
    }
}

impl Error for NoRuntime {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_a_runtime_there_is_no_timer() {
        let none = timer(Instant::now()).map(drop);
        assert_eq!(none, Err(NoRuntime));
    }

    #[tokio::test]
    async fn inside_of_a_runtime_there_is_one() {
        assert!(timer(Instant::now()).is_ok());
    }
}
