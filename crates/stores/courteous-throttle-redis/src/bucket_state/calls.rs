//! When Redis is called, and what its answers tell. There is one state machine for each bucket, and
//! the caller passes it the time.
//!
//! ```text
//!               a call is due              the worker begins
//!    +------+ ----------------> +-------+ ------------------> +---------+
//!    | idle |                   | asked |                     | calling |
//!    +------+ <---------------- +-------+                     +---------+
//!       ^       not due any        ^                            |     |
//!       |       more; stalled      | a call is due              |     | no answer;
//!       |                          | after the pause            |     | two late answers
//!       |                   +-------------+                     |     |
//!       |                   | backing off | <-------------------|-----+
//!       |                   +-------------+                     |
//!       +-------------------------------------------------------+
//!                           an answer; stalled
//!
//!    +-----------+  no answer; two late answers  +----------------+
//!    | connected | ----------------------------> | standing alone |
//!    +-----------+ <---------------------------- +----------------+
//!                        an answer in time
//! ```
//!
//! The first four states say where the call is. While the bucket stands alone, it goes through the
//! same four, and its waiters are served as the choice for an outage says: they wait, they use the
//! worker's own share, or they are sent.
//!
//! *Invariant.* A call is asked for only while the bucket is idle, or its pause is over. So a
//! bucket has one call at a time on its way, unless that call has stalled. The result of a stalled
//! call still counts: its answer leaves *asked* as it is, and its failure begins a pause in every
//! state.
//!
//! *Stalled.* If a worker does not begin within a second, or does not end within its timeouts, its
//! runtime is not driven. Then the bucket is idle again, so that another runtime's worker can be
//! asked.
//!
//! *Example.* With 100 tokens per second and a burst of 20, slots are 10 ms apart, and a lease is
//! 100 ms. A lease is renewed an eighth of its time before it runs dry. Many requests wait.
//!
//! | at | | call | |
//! |---|---|---|---|
//! | 0 ms | No slot is leased: a call is due. | asked | unknown |
//! | 0 ms | The worker begins. | calling | unknown |
//! | 2 ms | Redis grants 10 slots. The first opens now, the last at 92 ms. | idle | connected |
//! | 79.5 ms | 12.5 ms before the last slot opens, a call is due. | asked, calling | connected |
//! | 81 ms | The connection fails, and draws a pause of 40 ms. | backing off | alone |
//! | 92 ms | The last slot is used. A call would be due, but the pause is not over. | backing off | alone |
//! | 121 ms | The pause is over. | asked, calling | alone |
//!
//! *Why.* The pause belongs to the connection, which all buckets share. The state belongs to one
//! bucket. Whether it stands alone is apart from where its call is: a bucket that is asked to call
//! again does not know more about Redis than before.

mod demand;
mod due;
mod exchange;
mod notices;
mod server_clock;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use std::{sync::Arc, time::Duration};

use courteous_limit::later;
use tokio::time::Instant;

use self::{demand::Demand, notices::Notices, server_clock::ServerClock, state::State};
pub(crate) use self::{
    due::{Due, Needs},
    state::STALLED_AFTER,
};
use crate::{script::Seen, terms::Terms};

/// When Redis is called, and what is known from its answers.
#[derive(Debug)]
pub(crate) struct Calls {
    state: State,
    schedule: Schedule,
    demand: Demand,
    clock: ServerClock,
    notices: Notices,
    /// How long the last call took.
    round_trip: Duration,
    /// The text of the last fault.
    fault: Option<Arc<str>>,
    counts: Counts,
}

/// The schedule, as the last answer described it.
#[derive(Debug)]
struct Schedule {
    /// The terms that this worker states.
    stated: Terms,
    /// The terms in force. Another worker may have stated stricter terms.
    terms: Terms,
    /// The latest schedule that was seen. Redis may later know only an older schedule.
    seen: Seen,
    /// The schedule does not end before this. `None` before the first answer.
    ends: Option<Instant>,
    /// The schedule has no room before this. `None` if it may have room now.
    room_at: Option<Instant>,
}

/// How many calls there were, and how they ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) late: u64,
    pub(crate) cold_starts: u64,
    pub(crate) steps: u64,
    pub(crate) workers: u32,
    pub(crate) rates: u32,
}

impl Calls {
    pub(crate) fn new(longest: Duration, terms: Terms, now: Instant) -> Self {
        Self {
            state: State::new(longest),
            schedule: Schedule {
                stated: terms,
                terms,
                seen: Seen::default(),
                ends: None,
                room_at: None,
            },
            demand: Demand::new(now),
            clock: ServerClock::default(),
            notices: Notices::default(),
            round_trip: Duration::ZERO,
            fault: None,
            counts: Counts::default(),
        }
    }

    pub(crate) const fn set_terms(&mut self, terms: Terms) {
        self.schedule.stated = terms;
        self.schedule.terms = terms;
        self.schedule.room_at = None;
    }

    /// Returns the terms in force.
    pub(crate) const fn terms(&self) -> Terms {
        self.schedule.terms
    }

    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// The text of the last fault.
    pub(crate) fn fault(&self) -> Option<Arc<str>> {
        self.fault.clone()
    }

    /// Whether Redis answered the last call in time.
    pub(crate) const fn is_connected(&self) -> bool {
        self.state.is_connected()
    }

    /// Whether Redis does not answer, or too late.
    pub(crate) const fn is_alone(&self) -> bool {
        self.state.is_alone()
    }

    pub(crate) const fn alone_since(&self) -> Option<Instant> {
        self.state.alone_since()
    }

    /// Whether it is unknown what the limit allows, because Redis is away or its answer takes too
    /// long to be of use.
    pub(crate) fn is_unavailable(&self, now: Instant) -> bool {
        self.is_alone() || self.state.has_called_for(self.terms().lease_time(), now)
    }

    /// Whether a call is going on, or would be made for a request that comes now.
    pub(crate) fn is_trying(&self, now: Instant) -> bool {
        self.state.not_before().is_none_or(|until| until <= now)
    }

    /// Whether the worker has been asked to call, and has not begun.
    pub(crate) const fn is_asked(&self) -> bool {
        self.state.is_asked()
    }

    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        !self.state.is_busy()
            && self.notices.is_empty(now)
            && self.demand.per_period(now, self.terms().lease_time()) == 0
    }

    pub(crate) fn demand(&mut self, cost: u32, now: Instant) {
        self.demand.add(cost, now, self.terms().lease_time());
    }

    /// Notes that a request of this cost was rejected before an answer came. The next call reserves
    /// slots for this cost, so that the next request finds them.
    pub(crate) fn missed(&mut self, cost: u32) {
        self.demand.miss(cost.min(self.terms().max_cost()));
    }

    /// Notes that a server asked for a pause, so that Redis is told.
    pub(crate) const fn close(&mut self, opens: Instant) {
        self.notices.close(opens);
    }

    /// Notes that a server's quota of `remaining` is reset after `reset`, so that Redis is told if
    /// that is slower than the rate.
    pub(crate) fn pace(&mut self, remaining: u64, reset: Duration, now: Instant) {
        let spacing = self.terms().spacing_time();
        self.notices.pace(remaining, reset, spacing, now);
    }

    /// Whether Redis has to be told something, even if no request waits for a call.
    pub(crate) const fn is_urgent(&self) -> bool {
        self.notices.has_pause()
    }

    /// The earliest instant at which a slot can begin, `count` slots after the last known slot.
    pub(crate) fn slot_after(&self, count: u64) -> Option<Instant> {
        let spacing = u128::from(self.schedule.stated.spacing());
        let nanos = spacing * u128::from(count.saturating_sub(1));
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.schedule.ends.map(|ends| later(ends, wait))
    }
}

#[cfg(test)]
impl Calls {
    pub(crate) fn has_seen(&self, run: i64) -> bool {
        self.clock.has_seen(run)
    }

    pub(crate) const fn seen(&self) -> Seen {
        self.schedule.seen
    }
}
