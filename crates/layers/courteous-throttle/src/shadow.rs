use std::{collections::VecDeque, time::Duration};

use courteous_limit::{Next, Serve, Ticket, Wakes};
use courteous_limit::{Observed, Target, ToldQuota};
use tokio::time::Instant;

use crate::{
    Ask, Rate,
    bucket_state::{BucketState, Virtual},
    outcome::Entry,
};

/// How many calls can wait virtually, at some 100 bytes each: there may be a bucket for each of
/// 10,000 keys. Further calls are told the wait behind those, and take no tokens.
const MOST: usize = 1_000;

/// A bucket of virtual tokens, for calls that are only observed.
///
/// Such a call is sent at once, and then stands in the queue of this bucket in its own place. It
/// takes its virtual tokens at the instant at which it would have been sent. So the next call finds
/// the queue that it would have found. No timer rings: the next call first lets the time
/// [pass](Self::advance).
///
/// ```text
///  1/s, burst 1       0 ms      100 ms       200 ms         1000 ms
///  sent               call 1    call 2       call 3
///  virtually sent     call 1                                call 2 (call 3 at 2000 ms)
///  told               now       waits 0.9 s  waits 1.8 s
/// ```
#[derive(Debug)]
pub(crate) struct Shadow {
    state: BucketState,
    waiting: VecDeque<Ticket>,
    /// The instant until which the time has passed.
    at: Instant,
}

impl Shadow {
    /// A shadow of a bucket that has the tokens of `state`.
    pub(crate) const fn new(state: BucketState, now: Instant) -> Self {
        Self {
            state,
            waiting: VecDeque::new(),
            at: now,
        }
    }

    /// What would become of a call.
    pub(crate) fn take(&mut self, ask: &Ask, now: Instant) -> Observed {
        self.advance(now);
        match self.state.take(ask, now).0 {
            None => Observed::Now,
            Some(Entry::Rejected(rejected)) => Observed::Rejected(rejected),
            Some(Entry::Held(until)) => {
                // The call is not followed any further: what comes after a named quota is not
                // counted.
                self.state.leave_quota();
                Observed::Wait(until.saturating_duration_since(now))
            }
            Some(Entry::Place(ticket)) => {
                let turn = self.state.turn_of(&ticket, now);
                match self.waiting.len() < MOST {
                    true => self.waiting.push_back(ticket),
                    false => drop(self.state.leave(ticket, false)),
                }
                Observed::Wait(turn.saturating_duration_since(now))
            }
        }
    }

    pub(crate) fn close_until(&mut self, opens: Instant, now: Instant) {
        self.advance(now);
        self.state.close_until(opens, now, &mut Wakes::new());
    }

    pub(crate) fn pace(&mut self, remaining: u64, reset: Duration, now: Instant) {
        self.advance(now);
        self.state.pace(remaining, reset, now, &mut Wakes::new());
    }

    pub(crate) fn hear(&mut self, target: Target, told: &[ToldQuota], now: Instant) {
        self.advance(now);
        self.state.hear(target, told, now);
    }

    pub(crate) fn set_rates(&mut self, limit: u8, rates: &[Rate], now: Instant) {
        self.advance(now);
        self.state.set_rates(limit, rates, now, &mut Wakes::new());
    }

    pub(crate) fn add_rate(&mut self, limit: u8, rate: Rate, now: Instant) {
        self.advance(now);
        self.state.add_rate(limit, rate, now, &mut Wakes::new());
    }

    pub(crate) fn empty(&mut self, now: Instant) {
        self.advance(now);
        self.state.empty(now);
    }

    /// How many calls would be waiting.
    pub(crate) fn waiting(&mut self, now: Instant) -> usize {
        self.advance(now);
        self.waiting.len()
    }

    pub(crate) fn closed_until(&mut self, now: Instant) -> Option<Instant> {
        self.advance(now);
        self.state.closed_until(now)
    }

    /// Whether a new shadow would do the same.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.state.is_idle(now)
    }

    /// Virtually sends all calls whose turn has come by `now`, each at its own instant.
    fn advance(&mut self, now: Instant) {
        let wakes = &mut Wakes::new();
        // An instant of another thread, or of a paused clock, may be earlier.
        let mut at = self.at.min(now);
        while !self.waiting.is_empty() {
            let next = self.state.serve(at, wakes);
            while let Some(front) = self.waiting.front() {
                let sent = match self.state.settle_virtual(front, at) {
                    Virtual::Waits => break,
                    Virtual::Sent => true,
                    Virtual::Rejected => false,
                };
                if let Some(ticket) = self.waiting.pop_front() {
                    drop(self.state.leave(ticket, sent));
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
