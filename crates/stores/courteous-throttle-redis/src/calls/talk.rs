//! What is said to Redis, and what becomes of the answers.

use std::{sync::Arc, time::Duration};

use courteous_queue::Wakes;
use tokio::time::Instant;

use super::Contact;
use crate::{
    connection::Fault,
    core::Core,
    local::later,
    news::News,
    script::{Call, Reply},
};

impl Core {
    /// Begins a call to Redis as `worker`, if there is still a reason to.
    pub(crate) fn begin_call(&mut self, worker: u64, now: Instant) -> Option<Call> {
        self.settle(now);
        let front = self.front();
        let Self { calls, hand, .. } = self;
        calls.asked = None;
        if calls.calling.is_some() {
            return None;
        }
        let due = calls.wanted_at(front, hand, self.closed_until, now);
        if due.is_none_or(|due| due > now) {
            return None;
        }
        let slots = calls.slots_wanted_at(front, hand, self.closed_until, now);
        let need = match front {
            _ if slots.is_none_or(|at| at > now) => 0,
            Some(front) if hand.len() < u64::from(front.cost) => front.cost,
            Some(_) => 1,
            None => calls.missed.max(1),
        };
        let expected = calls.expected(now);
        let want = self
            .line_cost
            .saturating_add(expected)
            .saturating_sub(hand.len());
        let want = u32::try_from(want).unwrap_or(u32::MAX).max(need);
        let left = |until: Instant| until.saturating_duration_since(now);
        let step = calls.clock.step();
        let pacing = calls.pacing.filter(|&(_, until)| until > now);
        calls.telling = calls.closing.filter(|&until| until > now);
        if calls.telling.is_none() {
            calls.closing = None;
        }
        calls.calling = Some(now);
        calls.gauges.calls += 1;
        Some(Call {
            worker,
            terms: calls.stated,
            need,
            want,
            closed_for: calls.telling.map_or(Duration::ZERO, left),
            pace: pacing.map_or(Duration::ZERO, |(pace, _)| pace),
            paced_for: pacing.map_or(Duration::ZERO, |(_, until)| left(until)),
            skew: step.map_or(0, |step| step.skew),
            step: step.map_or(0, |step| step.step),
            seen: calls.seen,
        })
    }

    /// Redis has answered a `call` that was about to be sent at `before`.
    pub(crate) fn answered(
        &mut self,
        call: &Call,
        reply: &Reply,
        before: Instant,
        received: Instant,
        wakes: &mut Wakes,
    ) -> News {
        let calls = &mut self.calls;
        let (was_up, was_down) = (calls.is_up(), calls.is_down());
        let mut news = News {
            cold: reply.cold,
            rates: (reply.rates != calls.gauges.rates).then_some(reply.rates),
            ..News::default()
        };
        calls.calling = None;
        calls.retry_at = None;
        calls.round_trip = received.saturating_duration_since(before);
        if !calls.clock.agrees(reply, before, received) {
            calls.gauges.steps += 1;
            calls.contact = Contact::Up;
            news.stepped = true;
            return news;
        }
        if calls.closing == calls.telling {
            calls.closing = None;
        }
        if calls.pacing.is_some_and(|(pace, _)| pace == call.pace) {
            calls.pacing = None;
        }
        calls.seen = reply.seen();
        calls.gauges.cold_starts += u64::from(reply.cold);
        calls.gauges.workers = reply.workers;
        calls.gauges.rates = reply.rates;
        calls.strict = reply.terms;
        calls.ends = Some(later(before, nanos(reply.ends)));
        calls.room_at = None;
        if call.need > 0 {
            calls.room_at = (reply.granted == 0).then(|| later(received, reply.wait));
        }
        // Counted from before the call it is no later than in truth: unless it is later than what is known, it is that.
        let known = self.closed_until;
        if known.is_none_or(|until| until < later(before, reply.closed_for)) {
            self.shut(later(received, reply.closed_for), received, wakes);
        }
        let usable = self.hand.add(reply, call.need, before, received);
        let calls = &mut self.calls;
        let was_late = std::mem::replace(&mut calls.late, usable < reply.granted);
        if calls.late {
            calls.gauges.late += 1;
            if !was_late {
                // One packet that was sent again is no outage: another call is made at once.
                self.look_soon(received);
                return news;
            }
            // The way to Redis is longer than a lease: there is no use in trying at once.
            let pause = calls.round_trip.max(calls.strict.lease_time()) * 4;
            self.disconnected(received, later(received, pause));
            news.late = !was_down;
            return news;
        }
        if call.need > 0 {
            calls.missed = 0;
        }
        calls.contact = Contact::Up;
        self.look_soon(received);
        news.reached = !was_up;
        news
    }

    /// Redis did not answer; nothing is to be tried before `retry_at`.
    pub(crate) fn failed(&mut self, fault: &Fault, now: Instant) -> News {
        let lost = !self.calls.is_down();
        self.calls.gauges.failures += 1;
        self.calls.fault = Some(Arc::clone(&fault.text));
        self.disconnected(now, fault.retry_at);
        News {
            lost,
            ..News::default()
        }
    }

    fn disconnected(&mut self, now: Instant, retry_at: Instant) {
        let calls = &mut self.calls;
        calls.calling = None;
        calls.retry_at = Some(retry_at);
        if !calls.is_down() {
            calls.contact = Contact::Down(now);
        }
        self.look_soon(now);
    }

    /// Whether Redis has to be told something without anybody waiting for that.
    pub(crate) const fn is_urgent(&self) -> bool {
        self.calls.closing.is_some()
    }
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
