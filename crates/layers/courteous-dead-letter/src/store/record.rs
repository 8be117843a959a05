use std::{fmt, str::FromStr, time::SystemTime};

use http::StatusCode;

use crate::{Letter, UnknownWord};

/// A [`Letter`] as a store holds it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// What was recorded.
    pub letter: Letter,
    /// The record's current state.
    pub state: State,
    /// How often the record was sent again.
    pub redrives: u32,
    /// When `state` last changed, by the store's clock.
    pub changed_at: SystemTime,
}

/// The state of a recorded letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The letter waits to be sent again.
    Pending,
    /// The letter is being sent again, by the caller that holds the fencing number.
    Claimed {
        /// Higher than the fencing number of every earlier claim of this letter.
        fence: u64,
        /// When the claim ends by the store's clock, and another claim is allowed.
        until: SystemTime,
    },
    /// The letter was answered with success.
    Delivered {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The letter was answered, and would get the same answer again: for example a final 4xx.
    Refused {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The letter must not be sent again, for one of three reasons. It is too old, or was sent
    /// again too often. It will be too old before it may be sent:
    /// [`Reason::KeyRunsOut`](crate::Reason::KeyRunsOut). Or its key belongs to another operation:
    /// [`Reason::KeyReused`](crate::Reason::KeyReused).
    Expired,
    /// A person has decided that the letter must not be sent again.
    Discarded,
}

/// A [`State`] without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StateKind {
    /// [`State::Pending`]
    Pending,
    /// [`State::Claimed`], also after its time.
    Claimed,
    /// [`State::Delivered`]
    Delivered,
    /// [`State::Refused`]
    Refused,
    /// [`State::Expired`]
    Expired,
    /// [`State::Discarded`]
    Discarded,
}

impl Record {
    /// `letter` as it is recorded at `now`: pending, and not yet sent again. It is expired if its
    /// [key runs out](crate::Reason::KeyRunsOut) or [belongs to another
    /// operation](crate::Reason::KeyReused).
    #[must_use]
    pub const fn new(letter: Letter, now: SystemTime) -> Self {
        Self {
            state: State::first(&letter),
            letter,
            redrives: 0,
            changed_at: now,
        }
    }
}

impl State {
    /// The state of a letter that has just been recorded.
    pub(crate) const fn first(letter: &Letter) -> Self {
        match letter.failure.reason.is_end() {
            true => Self::Expired,
            false => Self::Pending,
        }
    }

    /// The kind of the state.
    #[must_use]
    pub const fn kind(&self) -> StateKind {
        match self {
            Self::Pending => StateKind::Pending,
            Self::Claimed { .. } => StateKind::Claimed,
            Self::Delivered { .. } => StateKind::Delivered,
            Self::Refused { .. } => StateKind::Refused,
            Self::Expired => StateKind::Expired,
            Self::Discarded => StateKind::Discarded,
        }
    }
}

impl StateKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Claimed,
        Self::Delivered,
        Self::Refused,
        Self::Expired,
        Self::Discarded,
    ];

    /// The word for the kind, as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Discarded => "discarded",
        }
    }

    /// Whether the record does not change any more without a mark: it is neither pending nor
    /// claimed.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Claimed)
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for StateKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.as_str() == word)
            .ok_or(UnknownWord(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_word() {
        for kind in StateKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("lost".parse::<StateKind>(), Err(UnknownWord(())));
    }
}
