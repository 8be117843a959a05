use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::Tick;

/// Planned events, in the order of time, and within a millisecond in the order in which they were
/// planned.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    entries: BinaryHeap<Reverse<Entry<E>>>,
    planned: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Tick,
    order: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: BinaryHeap::new(),
            planned: 0,
        }
    }

    pub(crate) fn plan(&mut self, at: Tick, event: E) {
        self.planned += 1;
        let order = self.planned;
        self.entries.push(Reverse(Entry { at, order, event }));
    }

    /// Takes the next event that is due.
    pub(crate) fn due(&mut self, now: Tick) -> Option<E> {
        self.next_at().filter(|at| *at <= now)?;
        self.entries.pop().map(|Reverse(entry)| entry.event)
    }

    /// The time of the next event.
    pub(crate) fn next_at(&self) -> Option<Tick> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_happens_in_time_and_in_order() {
        let mut agenda = Agenda::new();
        for (at, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            agenda.plan(at, event);
        }
        let mut due = |now| std::iter::from_fn(|| agenda.due(now)).collect::<String>();
        assert_eq!(
            (due(2), due(4), due(9)),
            (String::new(), "ab".into(), "cd".into())
        );
        assert_eq!(agenda.next_at(), None);
    }
}
