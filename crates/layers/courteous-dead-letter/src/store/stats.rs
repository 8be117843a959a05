use std::time::Duration;

use crate::{Reason, StateKind};

/// Counts of a [`LetterStore`](crate::LetterStore)'s records, for metrics and alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many records there are of each reason and state, sorted. Empty combinations are left
    /// out.
    pub counts: Vec<Count>,
    /// The age of the oldest pending or claimed record, by the store's clock.
    pub oldest_age: Option<Duration>,
    /// How many records have a reason or a state that is unknown here: they are in none of the
    /// counts. Records that cannot be read for other reasons are found by
    /// [`LetterStore::unreadable`](crate::LetterStore::unreadable).
    pub unreadable: u64,
}

/// How many records of one reason are in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Count {
    /// Why they failed, at the last time.
    pub reason: Reason,
    /// Their state.
    pub state: StateKind,
    /// How many.
    pub count: u64,
}

impl Count {
    /// `count` records of this reason and state.
    #[must_use]
    pub const fn new(reason: Reason, state: StateKind, count: u64) -> Self {
        Self {
            reason,
            state,
            count,
        }
    }
}

impl Stats {
    /// The stats of a store with these counts, whose oldest pending or claimed record has this age.
    #[must_use]
    pub fn new(counts: impl IntoIterator<Item = Count>, oldest_age: Option<Duration>) -> Self {
        let mut counts: Vec<_> = counts.into_iter().filter(|count| count.count > 0).collect();
        counts.sort_unstable();
        Self {
            counts,
            oldest_age,
            unreadable: 0,
        }
    }

    /// Sets the number of records whose reason or state is unknown.
    #[must_use]
    pub const fn with_unreadable(mut self, records: u64) -> Self {
        self.unreadable = records;
        self
    }

    /// How many records there are in all, including those whose reason or state is unknown.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sum(|_| true).saturating_add(self.unreadable)
    }

    /// How many records are in this state.
    #[must_use]
    pub fn in_state(&self, state: StateKind) -> u64 {
        self.sum(|count| count.state == state)
    }

    /// How many records are pending or claimed, and so still to be delivered.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.sum(|count| !count.state.is_final())
    }

    fn sum(&self, counts: impl Fn(&Count) -> bool) -> u64 {
        let counted = self.counts.iter().filter(|count| counts(count));
        counted.map(|count| count.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_counts() {
        let stats = Stats::new(
            [
                Count::new(Reason::Budget, StateKind::Claimed, 4),
                Count::new(Reason::Attempts, StateKind::Pending, 2),
                Count::new(Reason::Attempts, StateKind::Delivered, 1),
                Count::new(Reason::Deadline, StateKind::Pending, 0),
            ],
            None,
        );
        assert_eq!(stats.counts.len(), 3);
        assert!(stats.counts.is_sorted());
        assert_eq!(stats.total(), 7);
        assert_eq!(stats.in_state(StateKind::Pending), 2);
        assert_eq!(stats.undelivered(), 6);
        assert_eq!(stats.with_unreadable(2).total(), 9);
    }
}
