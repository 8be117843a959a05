mod talk;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{clock::Clock, demand::Demand, hand::Hand, local::later, script::Seen, terms::Terms};

/// Below this demand in a lease's time nothing is reserved in advance: most of it would be lost to all.
const BUSY: u64 = 2;
/// Whoever is asked to call Redis and has not begun after this long is gone, or on a runtime that nobody drives.
pub(crate) const DEAF: Duration = Duration::from_secs(1);
/// What a timer may be late.
const LATENESS: Duration = Duration::from_millis(2);

/// When Redis is called, and what is known from its answers.
#[derive(Debug)]
pub(crate) struct Calls {
    /// No call goes on for longer than this, with its timeouts.
    longest: Duration,
    /// What this worker states, and what is in force as another one may be stricter.
    stated: Terms,
    strict: Terms,
    demand: Demand,
    /// The cost of a request that could not wait for an answer.
    missed: u32,
    clock: Clock,
    /// The latest schedule that was seen: Redis may come to know an older one only.
    seen: Seen,
    contact: Contact,
    /// Since when somebody has been asked to call, and since when the call has been going on.
    asked: Option<Instant>,
    calling: Option<Instant>,
    /// Nothing is tried before this, after a failure; and there is no room before that.
    retry_at: Option<Instant>,
    room_at: Option<Instant>,
    /// The schedule does not end before this.
    ends: Option<Instant>,
    /// What Redis is to be told: until when a server asked this worker for a pause, and what of it is on its way; how a
    /// server's quota is spread.
    closing: Option<Instant>,
    telling: Option<Instant>,
    pacing: Option<(Duration, Instant)>,
    paced: bool,
    round_trip: Duration,
    /// The last answer came too late to be of use.
    late: bool,
    /// What went wrong last.
    pub(crate) fault: Option<Arc<str>>,
    pub(crate) gauges: Gauges,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) late: u64,
    pub(crate) cold_starts: u64,
    pub(crate) steps: u64,
    pub(crate) workers: u32,
    pub(crate) rates: u32,
}

/// What is waited for: what the one at the front of the line costs, and all in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    pub(crate) cost: u32,
    pub(crate) all: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    Unknown,
    Up,
    Down(Instant),
}

impl Calls {
    pub(crate) fn new(longest: Duration, terms: Terms, now: Instant) -> Self {
        Self {
            longest,
            stated: terms,
            strict: terms,
            demand: Demand::new(now),
            missed: 0,
            clock: Clock::default(),
            seen: Seen::default(),
            contact: Contact::Unknown,
            asked: None,
            calling: None,
            retry_at: None,
            room_at: None,
            ends: None,
            closing: None,
            telling: None,
            pacing: None,
            paced: false,
            round_trip: Duration::ZERO,
            late: false,
            fault: None,
            gauges: Gauges::default(),
        }
    }

    pub(crate) const fn set_terms(&mut self, terms: Terms) {
        self.stated = terms;
        self.strict = terms;
        self.room_at = None;
    }

    pub(crate) const fn terms(&self) -> Terms {
        self.strict
    }

    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.contact, Contact::Up)
    }

    pub(crate) const fn is_down(&self) -> bool {
        matches!(self.contact, Contact::Down(_))
    }

    pub(crate) const fn down_since(&self) -> Option<Instant> {
        match self.contact {
            Contact::Down(since) => Some(since),
            _ => None,
        }
    }

    /// Whether nobody knows what the limit allows: Redis is away, or has kept us waiting for so long that its answer would
    /// be of no use.
    pub(crate) fn is_unavailable(&self, now: Instant) -> bool {
        let hangs = |since| now.saturating_duration_since(since) >= self.strict.lease_time();
        self.is_down() || self.calling.is_some_and(hangs)
    }

    /// Whether a call is going on, or would be made for who asks now.
    pub(crate) fn is_trying(&self, now: Instant) -> bool {
        self.calling.is_some() || self.asked.is_some() || self.retry_at.is_none_or(|at| at <= now)
    }

    #[cfg(test)]
    pub(crate) fn has_seen(&self, run: i64) -> bool {
        self.clock.has_seen(run)
    }

    #[cfg(test)]
    pub(crate) const fn seen(&self) -> Seen {
        self.seen
    }

    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.calling.is_none()
            && self.asked.is_none()
            && self.closing.is_none()
            && self.pacing.is_none_or(|(_, until)| until <= now)
            && self.demand.per_period(now, self.strict.lease_time()) == 0
    }

    pub(crate) fn demand(&mut self, cost: u32, now: Instant) {
        self.demand.add(cost, now, self.strict.lease_time());
    }

    /// A request was refused for want of an answer: the next one shall find one.
    pub(crate) fn missed(&mut self, cost: u32) {
        self.missed = self.missed.max(cost.min(self.strict.max_cost()));
    }

    pub(crate) const fn asked(&self) -> Option<Instant> {
        self.asked
    }

    pub(crate) const fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// When somebody else has to see to a call.
    pub(crate) fn deaf_at(&self) -> Option<Instant> {
        let asked = self.asked.map(|at| at + DEAF);
        asked.or_else(|| self.calling.map(|at| later(at, self.longest)))
    }

    pub(crate) const fn close(&mut self, opens: Instant) {
        self.closing = Some(opens);
    }

    /// A server's quota of `remaining` is reset after `reset`.
    pub(crate) fn pace(&mut self, remaining: u64, reset: Duration, now: Instant) {
        let Some(interval) = reset.as_nanos().checked_div(u128::from(remaining)) else {
            return;
        };
        let interval = Duration::from_nanos(u64::try_from(interval).unwrap_or(u64::MAX));
        let slower = interval > self.strict.spacing_time();
        if slower || self.paced {
            self.pacing = Some((interval, later(now, reset)));
        }
        self.paced = slower;
    }

    /// The earliest instant at which the slot can begin that is `count` slots after the last known one.
    pub(crate) fn slot_after(&self, count: u64) -> Option<Instant> {
        let spacing = u128::from(self.stated.spacing());
        let nanos = spacing * u128::from(count.saturating_sub(1));
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.ends.map(|ends| later(ends, wait))
    }

    /// When Redis is to be called next, if at all.
    pub(crate) fn due(
        &mut self,
        front: Option<Front>,
        hand: &Hand,
        closed_until: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        if self.deaf_at().is_some_and(|at| at <= now) {
            (self.asked, self.calling) = (None, None);
        }
        if self.calling.is_some() || self.asked.is_some() {
            return None;
        }
        self.wanted_at(front, hand, closed_until, now)
    }

    fn wanted_at(
        &mut self,
        front: Option<Front>,
        hand: &Hand,
        closed_until: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        let tell = (self.closing.is_some() || self.clock.step().is_some()).then_some(now);
        let slots = self.slots_wanted_at(front, hand, closed_until, now);
        let at = tell.into_iter().chain(slots).min()?;
        Some(self.retry_at.map_or(at, |retry| at.max(retry)))
    }

    /// When slots are to be reserved: before the lease runs dry.
    fn slots_wanted_at(
        &mut self,
        front: Option<Front>,
        hand: &Hand,
        closed_until: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        let lead = self.lead();
        let at = match (front, hand.last()) {
            (Some(front), Some((opens, _))) if hand.len() >= u64::from(front.cost) => {
                if hand.len() >= front.all.saturating_add(self.expected(now)) {
                    return None;
                }
                opens.checked_sub(lead).unwrap_or(now)
            }
            (Some(_), _) => now,
            (None, _) if self.missed > 0 && hand.is_empty() => now,
            (None, last) => {
                let lease = self.strict.lease_time();
                let demand = self.demand.per_period(now, lease);
                if demand < BUSY {
                    return None;
                }
                let lasts = lease.mul_f64(hand.len() as f64 / demand as f64);
                let dry = last.map_or(now, |(opens, ends)| opens.max(later(now, lasts)).min(ends));
                if dry > now + lead {
                    return None;
                }
                now
            }
        };
        // Slots can be had from a horizon before the opening on.
        let opening = closed_until.and_then(|until| until.checked_sub(self.strict.horizon_time()));
        Some(
            at.max(opening.unwrap_or(at))
                .max(self.room_at.unwrap_or(at)),
        )
    }

    /// How much will be asked for in a lease's time.
    fn expected(&mut self, now: Instant) -> u64 {
        let lease = self.strict.lease_time();
        match self.demand.per_period(now, lease) {
            demand if demand < BUSY => 0,
            _ => self.demand.expected(now, lease),
        }
    }

    /// How long before it runs dry a lease is renewed.
    fn lead(&self) -> Duration {
        let network = self.round_trip * 2 + LATENESS;
        let lead = network.max(self.strict.lease_time() / 8);
        lead.min(self.strict.horizon_time() / 2)
    }
}
