//! The layer's `tracing` events. The crate's page has the table.

use courteous_core::RequestLine;
use http::StatusCode;

use crate::{LetterId, LetterOutcome, Reason};

/// The call that the events about its letter describe.
pub(crate) struct Subject {
    #[cfg(feature = "tracing")]
    request: RequestLine,
    #[cfg(feature = "tracing")]
    status: Option<StatusCode>,
}

impl Subject {
    /// The subject for a call whose last answer had `status`, if it had one.
    pub(crate) fn new(request: RequestLine, status: Option<StatusCode>) -> Self {
        #[cfg(not(feature = "tracing"))]
        let _ = (request, status);
        Self {
            #[cfg(feature = "tracing")]
            request,
            #[cfg(feature = "tracing")]
            status,
        }
    }
}

#[cfg(feature = "tracing")]
pub(crate) use told::{observed, settled};
#[cfg(not(feature = "tracing"))]
pub(crate) use untold::{observed, settled};

#[cfg(feature = "tracing")]
mod told {
    use std::error::Error;

    use courteous_core::Origin;
    use tracing::field::{DisplayValue, display};

    use super::*;
    use crate::NotRecordedCause;

    /// The letter has reached `outcome`.
    pub(crate) fn settled(
        id: LetterId,
        reason: Reason,
        subject: &Subject,
        outcome: LetterOutcome<'_>,
    ) {
        let status = subject.status.map(|status| status.as_u16());
        let (method, reason) = (subject.request.method().as_str(), reason.as_str());
        let origin = subject.request.origin();
        let origin = named(&origin);
        match outcome {
            LetterOutcome::Recorded => tracing::info!(
                name: "recorded",
                target: "courteous::dead_letter",
                %id,
                reason,
                status,
                method,
                origin,
                "recorded"
            ),
            LetterOutcome::HandedOver => tracing::info!(
                name: "handed_over",
                target: "courteous::dead_letter",
                %id,
                reason,
                status,
                method,
                origin,
                "handed_over"
            ),
            LetterOutcome::NotRecorded(not) => tracing::error!(
                name: "not_recorded",
                target: "courteous::dead_letter",
                %id,
                reason,
                cause = match not.cause() {
                    NotRecordedCause::TimedOut(_) => "timed_out",
                    NotRecordedCause::Rejected(_) => "rejected",
                    NotRecordedCause::RetryOutside => "retry_outside",
                    NotRecordedCause::NoId(_) => "no_id",
                },
                error = match not.cause() {
                    NotRecordedCause::Rejected(error) => Some(&**error as &(dyn Error + 'static)),
                    NotRecordedCause::NoId(error) => Some(error as &(dyn Error + 'static)),
                    _ => None,
                },
                status,
                method,
                origin,
                "not_recorded"
            ),
        }
    }

    /// A call would have been recorded, but the layer only observes.
    #[cold]
    pub(crate) fn observed(reason: Reason, request: &RequestLine, status: Option<StatusCode>) {
        tracing::debug!(
            name: "recorded",
            target: "courteous::dead_letter",
            observed = true,
            reason = reason.as_str(),
            status = status.map(|status| status.as_u16()),
            method = request.method().as_str(),
            origin = named(&request.origin()),
            "recorded"
        );
    }

    fn named(origin: &Origin) -> Option<DisplayValue<&Origin>> {
        origin.named().map(display)
    }
}

#[cfg(not(feature = "tracing"))]
mod untold {
    use super::*;

    pub(crate) const fn settled(_: LetterId, _: Reason, _: &Subject, _: LetterOutcome<'_>) {}

    pub(crate) const fn observed(_: Reason, _: &RequestLine, _: Option<StatusCode>) {}
}
