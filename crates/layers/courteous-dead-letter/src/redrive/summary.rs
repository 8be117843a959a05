use std::{error::Error, fmt};

use courteous_core::BoxError;
use http::StatusCode;

use crate::{LetterId, Reason, Withheld};

/// The result of a redrive, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Sent, and answered with success.
    pub delivered: u64,
    /// Sent, and answered in a way that would come again.
    pub refused: u64,
    /// Sent, and failed in a way that may pass: pending again.
    pub failed: u64,
    /// Too old to be sent, or sent for the last allowed time, and failed.
    pub expired: u64,
    /// Not sent, for a reason that [`NotSent`] tells: pending as before.
    pub not_sent: u64,
    /// Sent, but another worker claimed the record in the meantime: the record tells the outcome.
    pub lost: u64,
    /// For a dry run: what would be sent.
    pub would_send: u64,
    /// Whether the redrive ended before all records were tried, as too many failed in a row.
    pub stopped_early: bool,
}

impl Summary {
    /// How many records were looked at.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.delivered
            + self.refused
            + self.failed
            + self.expired
            + self.not_sent
            + self.lost
            + self.would_send
    }

    /// Whether every record was delivered: none was refused, has failed or expired, was not sent,
    /// or was lost.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.delivered + self.would_send == self.total() && !self.stopped_early
    }

    pub(crate) const fn count(&mut self, outcome: &RedriveOutcome) {
        match outcome {
            RedriveOutcome::Delivered { .. } => self.delivered += 1,
            RedriveOutcome::Refused { .. } => self.refused += 1,
            RedriveOutcome::Failed { .. } => self.failed += 1,
            RedriveOutcome::Exhausted { .. } | RedriveOutcome::Expired => self.expired += 1,
            RedriveOutcome::NotSent(_) => self.not_sent += 1,
            RedriveOutcome::Lost => self.lost += 1,
            RedriveOutcome::WouldSend => self.would_send += 1,
        }
    }
}

/// What a redrive has done with one record.
#[derive(Debug)]
#[non_exhaustive]
pub enum RedriveOutcome {
    /// The server answered with success.
    Delivered {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The server answered in a way that would come again.
    Refused {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The record failed, and is pending again.
    Failed {
        /// Why the call was given up.
        reason: Reason,
    },
    /// The record failed for the last allowed time, and is expired.
    Exhausted {
        /// Why the call was given up.
        reason: Reason,
    },
    /// The record was too old to be sent, or was sent too often, and is expired.
    Expired,
    /// The record was not sent, and is pending as before.
    NotSent(NotSent),
    /// The record was sent, but another worker claimed it in the meantime.
    Lost,
    /// In a dry run: the record would be sent.
    WouldSend,
}

/// Why a record was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotSent {
    /// There are no fresh values for these withheld secrets.
    MissingSecrets(Withheld),
    /// The source of fresh secrets has failed.
    SecretsFailed(BoxError),
    /// The record's body was not kept, or not wholly.
    BodyIncomplete,
    /// Secrets were removed from the record's body, which is for reading only.
    BodyScrubbed,
    /// The record's body is encrypted, with a key that the store was not given.
    Sealed,
    /// The call may have been processed before, and neither its method nor a key keeps it from
    /// being processed twice. It can only be sent alone, when a person has decided so: see
    /// [`Redrive::with_may_run_twice`](crate::Redrive::with_may_run_twice).
    MayRunTwice,
    /// This column of its record cannot be read.
    Unreadable {
        /// The column's name.
        column: &'static str,
    },
    /// A limit has rejected the call.
    Limited,
    /// The call's time was over before it could be sent: the claim or the fresh secrets took all of
    /// it.
    TooLate,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingSecrets(missing) => write!(f, "no fresh secrets for {missing}"),
            Self::SecretsFailed(_) => f.write_str("the source of fresh secrets failed"),
            Self::BodyIncomplete => f.write_str("its body was not kept whole"),
            Self::BodyScrubbed => {
                f.write_str("secrets were taken out of its body, which is for reading only")
            }
            Self::Sealed => f.write_str("its body is encrypted with a key that is not here"),
            Self::MayRunTwice => f.write_str("it may have been processed, and might be again"),
            Self::Unreadable { column } => write!(f, "its {column:?} cannot be read"),
            Self::Limited => f.write_str("a limit has rejected it"),
            Self::TooLate => f.write_str("the time of its call was over before it could be sent"),
        }
    }
}

impl Error for NotSent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::SecretsFailed(source) => Some(&**source),
            _ => None,
        }
    }
}

/// One record is finished: the argument of a redrive's [hook](crate::Redrive::with_on_progress).
#[derive(Debug)]
pub struct Progress<'a> {
    id: LetterId,
    outcome: &'a RedriveOutcome,
    summary: &'a Summary,
}

impl<'a> Progress<'a> {
    pub(crate) const fn new(
        id: LetterId,
        outcome: &'a RedriveOutcome,
        summary: &'a Summary,
    ) -> Self {
        Self {
            id,
            outcome,
            summary,
        }
    }

    /// The record.
    #[must_use]
    pub const fn id(&self) -> LetterId {
        self.id
    }

    /// What was done with the record.
    #[must_use]
    pub const fn outcome(&self) -> &'a RedriveOutcome {
        self.outcome
    }

    /// The totals so far, including this record.
    #[must_use]
    pub const fn summary(&self) -> &'a Summary {
        self.summary
    }
}
