//! The `tracing` events of a redrive. The crate's page has the table.

#[cfg(feature = "tracing")]
use courteous_core::Origin;

use crate::{Letter, LetterId, RedriveOutcome};

/// A redrive has reached `outcome` for one record.
#[cfg(feature = "tracing")]
pub(super) fn redriven(id: LetterId, letter: Option<&Letter>, outcome: &RedriveOutcome) {
    let origin = letter.map(Letter::origin);
    let (reason, status) = match outcome {
        RedriveOutcome::Delivered { status } | RedriveOutcome::Refused { status } => {
            (None, Some(status.as_u16()))
        }
        RedriveOutcome::Failed { reason } | RedriveOutcome::Exhausted { reason } => {
            (Some(reason.as_str()), None)
        }
        _ => (None, None),
    };
    tracing::debug!(
        name: "replayed",
        target: "courteous::dead_letter",
        %id,
        outcome = match outcome {
            RedriveOutcome::Delivered { .. } => "delivered",
            RedriveOutcome::Refused { .. } => "refused",
            RedriveOutcome::Failed { .. } => "failed",
            RedriveOutcome::Exhausted { .. } => "exhausted",
            RedriveOutcome::Expired => "expired",
            RedriveOutcome::NotSent(_) => "not_sent",
            RedriveOutcome::Lost => "lost",
            RedriveOutcome::WouldSend => "would_send",
        },
        reason,
        // Without the source of the error: it is the caller's error, and may hold a secret.
        why = match outcome {
            RedriveOutcome::NotSent(why) => Some(display(why)),
            _ => None,
        },
        status,
        method = letter.map(|letter| letter.method.as_str()),
        origin = origin.as_ref().and_then(Origin::named).map(display),
        "replayed"
    );
}

#[cfg(not(feature = "tracing"))]
pub(super) const fn redriven(_: LetterId, _: Option<&Letter>, _: &RedriveOutcome) {}
