use std::{error::Error, fmt};

use courteous_core::BoxError;
use http::StatusCode;

use crate::{LetterId, Reason, Withheld};

/// What a redrive has come to, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Sent, and answered with success.
    pub delivered: u64,
    /// Sent, and answered in a way that would come again.
    pub refused: u64,
    /// Sent, and failed in a way that may pass: pending again.
    pub failed: u64,
    /// Too old to be sent, or sent for the last time that was allowed, and failed.
    pub expired: u64,
    /// Not sent, for a reason that [`NotSent`] tells: pending as before.
    pub not_sent: u64,
    /// Sent, but claimed by somebody else in the meantime: the record says what became of it.
    pub lost: u64,
    /// Of a dry run: what would be sent.
    pub would_send: u64,
    /// Whether the redrive ended before all was tried, as too many failed in a row.
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

    /// Whether all that was to be sent was delivered: nothing was refused, has failed or expired, was not sent or lost.
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

/// What a redrive has done about one record.
#[derive(Debug)]
#[non_exhaustive]
pub enum RedriveOutcome {
    /// It was answered with success.
    Delivered {
        /// The status of the answer.
        status: StatusCode,
    },
    /// It was answered in a way that would come again.
    Refused {
        /// The status of the answer.
        status: StatusCode,
    },
    /// It failed, and is pending again.
    Failed {
        /// Why it was given up.
        reason: Reason,
    },
    /// It failed for the last time that was allowed, and is expired.
    Exhausted {
        /// Why it was given up.
        reason: Reason,
    },
    /// It was too old to be sent, or was sent too often, and is expired.
    Expired,
    /// It was not sent, and is pending as before.
    NotSent(NotSent),
    /// It was sent, but somebody else has claimed the record in the meantime.
    Lost,
    /// In a dry run: it would be sent.
    WouldSend,
}

/// Why a record was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotSent {
    /// There are no fresh ones for these secrets, which were withheld.
    MissingSecrets(Withheld),
    /// The source of fresh secrets has failed.
    SecretsFailed(BoxError),
    /// Its body was not kept, or not wholly.
    BodyIncomplete,
    /// Secrets were taken out of its body, which is for reading only.
    BodyScrubbed,
    /// Its body is encrypted, with a key that the store was not given.
    Sealed,
    /// It may have been processed before, and nothing keeps it from being processed twice: neither its method nor a key. To be
    /// sent again only by itself, by somebody who knows that: see
    /// [`Redrive::with_may_run_twice`](crate::Redrive::with_may_run_twice).
    MayRunTwice,
    /// This column of its record cannot be read.
    Unreadable {
        /// The column's name.
        column: &'static str,
    },
    /// A limit has refused it.
    Limited,
    /// The time of its call was over before it could be sent: claiming it, or its fresh secrets, took all of it.
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
            Self::Limited => f.write_str("a limit has refused it"),
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

/// One record is done with: what a redrive's [hook](crate::Redrive::with_on_progress) is given.
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

    /// What was done about it.
    #[must_use]
    pub const fn outcome(&self) -> &'a RedriveOutcome {
        self.outcome
    }

    /// All so far, with this one.
    #[must_use]
    pub const fn summary(&self) -> &'a Summary {
        self.summary
    }
}
