//! What a limit says of a call that is not simply admitted: to its record, and by `tracing` events.
//! The crate's page has the table.

use courteous_core::{CallRecord, Decision, NoteKind, ObserveOnly, Rejected};
#[cfg(feature = "tracing")]
use courteous_core::{RejectReason, RequestView};
use http::Request;

/// A call was rejected.
#[cold]
pub(crate) fn rejected<B>(request: &Request<B>, rejected: &Rejected) {
    let note = NoteKind::Rejected(rejected.reason());
    CallRecord::note_in(request.extensions(), note);
    #[cfg(feature = "tracing")]
    tell("rejected", request, Some(rejected.reason()), None);
}

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
        origin = RequestView::of(request).wire_origin().named().map(tracing::field::display),
        "{what}"
    );
}
