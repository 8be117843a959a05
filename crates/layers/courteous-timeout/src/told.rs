use std::mem;

use courteous_core::{BoxError, CallRecord, Decision, NoRuntime, NoteKind, ObserveOnly};
use tokio::time::Instant;

use crate::{
    events::{self, Subject},
    limit::Limit,
};

/// What is told that a limit has struck, besides the caller.
// One field for all, as each byte of a call is moved several times.
#[derive(Clone, Debug, Default)]
pub(crate) enum Told {
    #[default]
    Nobody,
    /// The record that a layer outside has made.
    Record(CallRecord),
    /// The switch of a total timeout that only observes. It is told once, in place of the error: the call goes on.
    TotalObserver(ObserveOnly),
    /// The same, of an attempt timeout.
    AttemptObserver(ObserveOnly),
}

impl Told {
    /// The observer if the layer only observes, and else the call's record, if it has one.
    #[inline]
    pub(crate) fn of(
        switch: Option<&ObserveOnly>,
        observer: fn(ObserveOnly) -> Self,
        record: Option<&CallRecord>,
    ) -> Self {
        match (ObserveOnly::active(switch), record) {
            (Some(switch), _) => observer(switch.clone()),
            (None, Some(record)) => Self::Record(record.clone()),
            (None, None) => Self::Nobody,
        }
    }

    pub(crate) const fn is_observer(&self) -> bool {
        matches!(self, Self::TotalObserver(_) | Self::AttemptObserver(_))
    }

    /// Begins a call at `now`. If it is only observed and its limit has passed already, that is told, and there is nothing more to
    /// observe: without an observer, no other limit may be enforced either.
    #[inline]
    pub(crate) fn begin(
        self,
        limit: Option<Limit>,
        now: Instant,
        subject: &Subject,
    ) -> (Option<Limit>, Self) {
        match limit {
            Some(over) if self.is_observer() && over.deadline() <= now => {
                self.observe(&over, subject);
                (None, Self::Nobody)
            }
            limit => (limit, self),
        }
    }

    /// The error that says that `limit` has struck. `None` if the call is only observed, and goes on: then there is no further limit.
    #[cold]
    pub(crate) fn strike(&mut self, limit: &Limit, subject: &Subject) -> Option<BoxError> {
        let told = mem::take(self);
        if told.is_observer() {
            told.observe(limit, subject);
            return None;
        }
        told.note(limit);
        Some(limit.strike(subject))
    }

    /// `error`, unless the call is only observed, which goes on without a limit then.
    #[cold]
    pub(crate) fn unless_observed(&mut self, error: NoRuntime) -> Option<BoxError> {
        (!mem::take(self).is_observer()).then(|| error.into())
    }

    /// Writes into the call's record that `limit` has struck.
    pub(crate) fn note(&self, limit: &Limit) {
        if let Self::Record(record) = self {
            record.note(NoteKind::Elapsed(limit.elapsed().scope()));
        }
    }

    #[cold]
    fn observe(self, limit: &Limit, subject: &Subject) {
        let (switch, decision) = match self {
            Self::TotalObserver(switch) => (switch, Decision::TotalTimeout),
            Self::AttemptObserver(switch) => (switch, Decision::AttemptTimeout),
            Self::Nobody | Self::Record(_) => return,
        };
        switch.record(decision);
        events::elapsed(&limit.elapsed(), subject, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_two_words_for_each_of_them() {
        assert_eq!(size_of::<Told>(), 2 * size_of::<usize>());
    }
}
