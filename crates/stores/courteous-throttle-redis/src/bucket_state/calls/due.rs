//! When a call is due.

use std::time::Duration;

use courteous_limit::later;
use tokio::time::Instant;

use super::Calls;
use crate::bucket_state::leased::LeasedSlots;

/// Below this demand in a lease's time, nothing is reserved in advance: most of the slots would be
/// lost to all workers.
const BUSY: u64 = 2;
/// How late a timer may be.
const LATENESS: Duration = Duration::from_millis(2);

/// The slots that a bucket has, and the slots that are asked of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs<'a> {
    /// The cost of the waiter at the front of the queue. `None` if the queue is empty.
    pub(crate) front: Option<u32>,
    /// The total cost of all waiters in the queue.
    pub(crate) waiting: u64,
    pub(crate) leased: &'a LeasedSlots,
    pub(crate) closed_until: Option<Instant>,
}

/// When the next call is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    At(Instant),
    /// There is no reason to call, or a call is already asked for or on its way.
    Never,
}

impl Calls {
    /// Asks for a call if one is due.
    pub(crate) fn ask_if_due(&mut self, needs: Needs<'_>, now: Instant) -> Due {
        self.state.settle(now);
        if self.state.is_busy() {
            return Due::Never;
        }
        match self.wanted_at(needs, now) {
            Some(at) if at <= now => {
                self.state.ask(now);
                Due::Now
            }
            Some(at) => Due::At(at),
            None => Due::Never,
        }
    }

    /// When the call counts as stalled. Then another worker has to be asked.
    pub(crate) fn stalled_at(&self) -> Option<Instant> {
        self.state.stalled_at()
    }

    /// When Redis is to be called next, if at all.
    pub(super) fn wanted_at(&mut self, needs: Needs<'_>, now: Instant) -> Option<Instant> {
        let tell = (self.notices.has_pause() || self.clock.step().is_some()).then_some(now);
        let slots = self.slots_wanted_at(needs, now);
        let at = tell.into_iter().chain(slots).min()?;
        Some(self.state.not_before().map_or(at, |until| at.max(until)))
    }

    /// When slots are to be reserved: before the lease runs dry.
    pub(super) fn slots_wanted_at(&mut self, needs: Needs<'_>, now: Instant) -> Option<Instant> {
        let Needs { front, leased, .. } = needs;
        let lead = self.lead();
        let at = match (front, leased.last()) {
            (Some(cost), Some((opens, _))) if leased.len() >= u64::from(cost) => {
                if leased.len() >= needs.waiting.saturating_add(self.expected(now)) {
                    return None;
                }
                opens.checked_sub(lead).unwrap_or(now)
            }
            (Some(_), _) => now,
            (None, _) if self.demand.missed() > 0 && leased.is_empty() => now,
            (None, last) => {
                let lease = self.terms().lease_time();
                let demand = self.demand.per_period(now, lease);
                if demand < BUSY {
                    return None;
                }
                let lasts = lease.mul_f64(leased.len() as f64 / demand as f64);
                let dry = last.map_or(now, |(opens, ends)| opens.max(later(now, lasts)).min(ends));
                if dry > now + lead {
                    return None;
                }
                now
            }
        };
        // Slots are available from one horizon before the opening on.
        let horizon = self.terms().horizon_time();
        let opening = needs
            .closed_until
            .and_then(|until| until.checked_sub(horizon));
        let room_at = self.schedule.room_at;
        Some(at.max(opening.unwrap_or(at)).max(room_at.unwrap_or(at)))
    }

    /// The demand to expect in a lease's time.
    pub(super) fn expected(&mut self, now: Instant) -> u64 {
        let lease = self.terms().lease_time();
        match self.demand.per_period(now, lease) {
            demand if demand < BUSY => 0,
            _ => self.demand.expected(now, lease),
        }
    }

    /// How long before a lease runs dry it is renewed.
    fn lead(&self) -> Duration {
        let network = self.round_trip * 2 + LATENESS;
        let lead = network.max(self.terms().lease_time() / 8);
        lead.min(self.terms().horizon_time() / 2)
    }
}
