use std::time::Duration;

use tokio::time::Instant;

use crate::{Fault, RejectReason, Scope, StopReason};

/// What a layer has decided for one call, and when: in its [`CallRecord`](crate::CallRecord).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    at: Instant,
    kind: NoteKind,
}

/// What a layer has decided.
///
/// Only what is unusual: a call that is answered at once has no notes. A layer that
/// [only observes](crate::ObserveOnly) writes none, because it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteKind {
    /// A retry makes another attempt after this wait.
    #[non_exhaustive]
    Retry {
        /// From the failure of the attempt to the start of the next one, as planned.
        wait: Duration,
        /// What kind of failure it was.
        fault: Fault,
    },
    /// A limit further in has rejected an attempt, and a retry makes it after this wait. Nothing was sent.
    #[non_exhaustive]
    Postponed {
        /// Until the limit opens.
        wait: Duration,
    },
    /// A retry makes no further attempt. Not written for [`StopReason::Answered`].
    Stopped(StopReason),
    /// A layer has rejected the request, and it was not sent.
    Rejected(RejectReason),
    /// A throttle starts no further calls, or none of those that count against one quota, because a response
    /// said so.
    #[non_exhaustive]
    Paused {
        /// Until then.
        opens_at: Instant,
    },
    /// A timeout has struck.
    Elapsed(Scope),
}

impl Note {
    /// When it was decided.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// What was decided.
    #[must_use]
    pub const fn kind(&self) -> NoteKind {
        self.kind
    }
}

impl NoteKind {
    /// A retry makes another attempt after `wait`, because of `fault`.
    #[must_use]
    pub const fn retry(wait: Duration, fault: Fault) -> Self {
        Self::Retry { wait, fault }
    }

    /// A retry makes the attempt that a limit has rejected after `wait`.
    #[must_use]
    pub const fn postponed(wait: Duration) -> Self {
        Self::Postponed { wait }
    }

    /// A throttle is closed until `opens_at`.
    #[must_use]
    pub const fn paused(opens_at: Instant) -> Self {
        Self::Paused { opens_at }
    }
}

/// The first notes of a call, and the last.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

impl Notes {
    const FIRST: usize = 4;
    const MAX: usize = 16;

    /// Adds a note. The fifth one makes room for the seventeenth.
    pub(crate) fn push(&mut self, kind: NoteKind) {
        if self.0.len() == Self::MAX {
            self.0.remove(Self::FIRST);
        }
        let at = Instant::now();
        self.0.push(Note { at, kind });
    }

    pub(crate) fn to_vec(&self) -> Vec<Note> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_four_and_the_last_twelve_are_kept_in_their_order() {
        let mut notes = Notes::default();
        let kind = |millis| NoteKind::retry(Duration::from_millis(millis), Fault::Server);
        let began = Instant::now();
        for millis in 0..1000 {
            notes.push(kind(millis));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let expected: Vec<_> = (0..4).chain(988..1000).collect();
        let kinds: Vec<_> = notes.to_vec().iter().map(Note::kind).collect();
        assert_eq!(kinds, expected.iter().map(|&i| kind(i)).collect::<Vec<_>>());
        for (note, millis) in notes.to_vec().iter().zip(expected) {
            assert_eq!(note.at(), began + Duration::from_millis(millis));
        }
        assert!(notes.0.capacity() <= Notes::MAX);
    }
}
