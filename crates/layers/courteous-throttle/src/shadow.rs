use std::{collections::VecDeque, time::Duration};

use courteous_limit::{Ask, Entry, Next, Observed, Ticket, TokenQueue, Wakes};
use tokio::time::Instant;

/// How many calls can wait virtually, at some 100 bytes each: there may be a bucket for each of
/// 10,000 keys. Further calls are told the wait behind those, and take no tokens.
const MOST: usize = 1_000;

/// A bucket of virtual tokens, for calls that are only observed.
///
/// Such a call is sent at once, and then stands in the queue of this bucket in its own place. It
/// takes its virtual tokens at the instant at which it would have been sent. So the next call finds
/// the queue that it would have found. No timer rings: the next call first lets the time
/// [pass](Self::at).
///
/// ```text
///  1/s, burst 1       0 ms      100 ms       200 ms         1000 ms
///  sent               call 1    call 2       call 3
///  virtually sent     call 1                                call 2 (call 3 at 2000 ms)
///  told               now       waits 0.9 s  waits 1.8 s
/// ```
#[derive(Debug)]
pub(crate) struct Shadow<Q> {
    queue: Q,
    waiting: VecDeque<Ticket>,
    /// The instant until which the time has passed.
    at: Instant,
}

/// A bucket whose calls can be sent virtually.
pub(crate) trait VirtualQueue: TokenQueue {
    /// When a waiter that has just joined the queue will be let through, as things are.
    fn turn_of(&mut self, ticket: &Ticket, now: Instant) -> Instant;

    /// Sends the waiter's call virtually, if the waiter was granted its turn.
    fn settle_virtual(&mut self, ticket: &Ticket, now: Instant) -> Virtual;
}

/// What became of a virtual waiter, whose call was really sent long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Virtual {
    Waits,
    Sent,
    /// It would have been rejected after all.
    Rejected,
}

impl<Q: VirtualQueue> Shadow<Q> {
    /// A shadow of a bucket that has the tokens of `queue`.
    pub(crate) const fn new(queue: Q, now: Instant) -> Self {
        Self {
            queue,
            waiting: VecDeque::new(),
            at: now,
        }
    }

    /// What would become of a call.
    pub(crate) fn take(&mut self, ask: &Ask, now: Instant) -> Observed {
        self.advance(now);
        match self.queue.enter(ask, now).0 {
            Entry::Taken => Observed::Now,
            Entry::Rejected(rejected) => Observed::Rejected(rejected),
            Entry::Held(until) => {
                // The call is not followed any further: what comes after a named quota is not
                // counted.
                self.queue.quotas().0.leave();
                Observed::Wait(until.saturating_duration_since(now))
            }
            Entry::Queued(ticket) => {
                let turn = self.queue.turn_of(&ticket, now);
                match self.waiting.len() < MOST {
                    true => self.waiting.push_back(ticket),
                    false => drop(self.queue.leave(ticket, false, now)),
                }
                Observed::Wait(turn.saturating_duration_since(now))
            }
        }
    }

    /// The bucket of virtual tokens, after the time has passed until `now`.
    pub(crate) fn at(&mut self, now: Instant) -> &mut Q {
        self.advance(now);
        &mut self.queue
    }

    /// How many calls would be waiting.
    pub(crate) fn waiting(&mut self, now: Instant) -> usize {
        self.advance(now);
        self.waiting.len()
    }

    /// Virtually sends all calls whose turn has come by `now`, each at its own instant.
    fn advance(&mut self, now: Instant) {
        let wakes = &mut Wakes::new();
        // An instant of another thread, or of a paused clock, may be earlier.
        let mut at = self.at.min(now);
        while !self.waiting.is_empty() {
            let next = self.queue.serve(at, wakes);
            while let Some(front) = self.waiting.front() {
                let sent = match self.queue.settle_virtual(front, at) {
                    Virtual::Waits => break,
                    Virtual::Sent => true,
                    Virtual::Rejected => false,
                };
                if let Some(ticket) = self.waiting.pop_front() {
                    drop(self.queue.leave(ticket, sent, at));
                }
            }
            match next {
                Next::At(next) if next <= now => at = next.max(at + Duration::from_nanos(1)),
                _ => break,
            }
        }
        self.at = now;
    }
}
