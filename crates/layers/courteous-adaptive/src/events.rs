//! The `tracing` events of a limit. The crate's page has the table.

use courteous_core::{Decision, ObserveOnly, Rejected};
#[cfg(feature = "tracing")]
use courteous_core::{RejectReason, RequestView};
use http::Request;

/// A call was rejected.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn rejected<B>(request: &Request<B>, rejected: &Rejected) {
    tell("rejected", request, Some(rejected.reason()), None);
}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn rejected<B>(_: &Request<B>, _: &Rejected) {}

/// Counts and reports what would have happened to a call that was only observed.
#[cold]
pub(crate) fn observed<B>(request: &Request<B>, is_rejected: bool, observe: &ObserveOnly) {
    observe.record(match is_rejected {
        true => Decision::AdaptiveReject,
        false => Decision::AdaptiveWait,
    });
    #[cfg(feature = "tracing")]
    tell(
        if is_rejected { "rejected" } else { "waiting" },
        request,
        is_rejected.then_some(RejectReason::Overloaded),
        Some(true),
    );
    #[cfg(not(feature = "tracing"))]
    let _ = request;
}

#[cfg(feature = "tracing")]
fn tell<B>(
    what: &'static str,
    request: &Request<B>,
    reason: Option<RejectReason>,
    observed: Option<bool>,
) {
    tracing::debug!(
        name: "adaptive_limit",
        target: "courteous::adaptive",
        observed,
        reason = reason.map(RejectReason::as_str),
        method = request.method().as_str(),
        origin = RequestView::of(request).origin().named().map(tracing::field::display),
        "{what}"
    );
}
