use courteous_core::{Decision, ObserveOnly, Rejected};
use http::Request;

use crate::limiter::Excess;

/// Tells a subscriber that a call was refused.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn refused(rejected: &Rejected) {
    tracing::debug!(reason = ?rejected.reason(), "request refused by a concurrency limit");
}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn refused(_: &Rejected) {}

/// Counts and tells what would have become of a call that was only observed.
#[cold]
pub(crate) fn observed<B>(request: &Request<B>, excess: Excess, observe: &ObserveOnly) {
    let Excess {
        in_flight,
        rejected,
    } = excess;
    observe.record(match rejected {
        Some(_) => Decision::ConcurrencyReject,
        None => Decision::ConcurrencyWait,
    });
    #[cfg(feature = "tracing")]
    {
        let method = request.method().as_str();
        match rejected {
            Some(reason) => tracing::debug!(
                target: "courteous::concurrency",
                observed = true,
                method,
                ?reason,
                in_flight,
                "the call would have been rejected"
            ),
            None => tracing::debug!(
                target: "courteous::concurrency",
                observed = true,
                method,
                in_flight,
                "the call would have waited"
            ),
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (request, in_flight);
}
