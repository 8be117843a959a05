//! What a call tells Redis, and what the answers change.

use std::{sync::Arc, time::Duration};

use courteous_limit::later;
use tokio::time::Instant;

use super::{Calls, Needs};
use crate::{
    call_failure::CallFailure,
    script::{Call, Reply},
    transitions::Transitions,
};

impl Calls {
    /// Begins a call as `worker`, if there is still a reason to.
    pub(crate) fn begin(&mut self, worker: u64, needs: Needs<'_>, now: Instant) -> Option<Call> {
        if !self.state.pick_up() || self.wanted_at(needs, now).is_none_or(|at| at > now) {
            return None;
        }
        let slots = self.slots_wanted_at(needs, now);
        let need = match needs.front {
            _ if slots.is_none_or(|at| at > now) => 0,
            Some(cost) if needs.leased.len() < u64::from(cost) => cost,
            Some(_) => 1,
            None => self.demand.missed().max(1),
        };
        let wanted = needs.waiting.saturating_add(self.expected(now));
        let want = wanted.saturating_sub(needs.leased.len());
        let want = u32::try_from(want).unwrap_or(u32::MAX).max(need);
        let step = self.clock.step();
        let told = self.notices.send(now);
        self.state.begin(now);
        self.counts.calls += 1;
        Some(Call {
            worker,
            terms: self.schedule.stated,
            need,
            want,
            closed_for: told.closed_for,
            pace: told.pace,
            paced_for: told.paced_for,
            skew: step.map_or(0, |step| step.skew),
            step: step.map_or(0, |step| step.step),
            seen: self.schedule.seen,
        })
    }

    /// Handles Redis' answer to a `call` that was about to be sent at `before`. If Redis' clock was
    /// set forward, nothing of the answer may be used. Otherwise [`conclude`](Self::conclude)
    /// follows.
    pub(crate) fn hear(
        &mut self,
        call: &Call,
        reply: &Reply,
        before: Instant,
        received: Instant,
    ) -> Transitions {
        let mut transitions = Transitions {
            cold: reply.cold,
            rates: (reply.rates != self.counts.rates).then_some(reply.rates),
            ..Transitions::default()
        };
        self.state.answered();
        self.round_trip = received.saturating_duration_since(before);
        if !self.clock.agrees(reply, before, received) {
            self.counts.steps += 1;
            self.state.connected();
            transitions.stepped = true;
            return transitions;
        }
        self.notices.confirm(call);
        self.counts.cold_starts += u64::from(reply.cold);
        self.counts.workers = reply.workers;
        self.counts.rates = reply.rates;
        let schedule = &mut self.schedule;
        schedule.seen = reply.seen();
        schedule.terms = reply.terms;
        schedule.ends = Some(later(before, nanos(reply.ends)));
        schedule.room_at =
            (call.need > 0 && reply.granted == 0).then(|| later(received, reply.wait));
        transitions
    }

    /// Concludes an answer. It was `late` if some of its slots are of no use. Otherwise it was in
    /// time.
    pub(crate) fn conclude(
        &mut self,
        call: &Call,
        late: bool,
        received: Instant,
        transitions: &mut Transitions,
    ) {
        let late_again = self.state.was_late_again(late);
        if !late {
            if call.need > 0 {
                self.demand.granted();
            }
            transitions.reached = self.state.connected();
            return;
        }
        self.counts.late += 1;
        // A packet that was sent again is not an outage, so after one late answer another call is
        // made at once.
        if late_again {
            // The way to Redis takes longer than a lease, so it is of no use to try again at once.
            let pause = self.round_trip.max(self.terms().lease_time()) * 4;
            transitions.late = self.state.back_off(received, later(received, pause));
        }
    }

    /// Handles a call that Redis did not answer. No call may be tried before the fault's
    /// `retry_at`.
    pub(crate) fn failed(&mut self, fault: &CallFailure, now: Instant) -> Transitions {
        self.counts.failures += 1;
        self.fault = Some(Arc::clone(&fault.text));
        Transitions {
            lost: self.state.back_off(now, fault.retry_at),
            ..Transitions::default()
        }
    }
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
