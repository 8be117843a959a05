//! What a limit says of a call that is not simply admitted: to its record, and by `tracing` events.
//! The crate's page has the table of events.

use courteous_core::{CallRecord, Decision, NoteKind, ObserveOnly, Rejected};
#[cfg(feature = "tracing")]
use courteous_core::{RejectReason, RequestView};
use http::Request;

use crate::limiter::Excess;

/// A call was rejected.
#[cold]
pub(crate) fn rejected<B>(request: &Request<B>, rejected: &Rejected) {
    let note = NoteKind::Rejected(rejected.reason());
    CallRecord::note_in(request.extensions(), note);
    #[cfg(feature = "tracing")]
    tell_rejected(request, rejected.reason(), None);
}

/// Counts and reports what would have happened to a call that was only observed.
#[cold]
pub(crate) fn observed<B>(request: &Request<B>, excess: Excess, observe: &ObserveOnly) {
    observe.record(match excess.rejected {
        Some(_) => Decision::ConcurrencyReject,
        None => Decision::ConcurrencyWait,
    });
    #[cfg(feature = "tracing")]
    match excess.rejected {
        Some(reason) => tell_rejected(request, reason, Some(excess)),
        None => tracing::debug!(
            name: "waiting",
            target: "courteous::concurrency",
            observed = true,
            in_flight = excess.in_flight,
            method = request.method().as_str(),
            origin = RequestView::of(request).wire_origin().named().map(tracing::field::display),
            "waiting"
        ),
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (request, excess.in_flight);
}

/// With the `observed` fields, if the call was sent although it would have been rejected.
#[cfg(feature = "tracing")]
fn tell_rejected<B>(request: &Request<B>, reason: RejectReason, observed: Option<Excess>) {
    tracing::debug!(
        name: "rejected",
        target: "courteous::concurrency",
        observed = observed.map(|_| true),
        reason = reason.as_str(),
        in_flight = observed.map(|excess| excess.in_flight),
        method = request.method().as_str(),
        origin = RequestView::of(request).wire_origin().named().map(tracing::field::display),
        "rejected"
    );
}
