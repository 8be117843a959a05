use std::time::Duration;

use courteous_limit::later;
use tokio::time::Instant;

use crate::terms::Terms;

/// The part of a rate that a worker has to itself while it cannot reach Redis.
///
/// It has two schedules. The schedule of sent tokens keeps the bound. The schedule of tokens that
/// are promised to waiters never allows more than that. A promise that is not used holds up no
/// other waiter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    interval: Duration,
    /// The time that a full burst is worth, less one token.
    credit: Duration,
    burst: u32,
    /// When the rest of the first burst would be used up.
    sent: Instant,
    promised: Instant,
}

impl Local {
    /// Starts empty, as it is not known how much was sent before.
    pub(crate) fn new(terms: Terms, now: Instant) -> Self {
        let interval = Duration::from_nanos(terms.interval());
        Self {
            interval,
            credit: interval.saturating_mul(terms.burst() - 1),
            burst: terms.burst(),
            sent: now + interval,
            promised: now + interval,
        }
    }

    /// When `count` tokens can be sent, if ever.
    pub(crate) fn opens_at(&self, count: u32, now: Instant) -> Option<Instant> {
        (count <= self.burst).then(|| self.at(self.promised, count, now))
    }

    /// Sets `count` tokens aside.
    pub(crate) fn promise(&mut self, count: u32, now: Instant) -> bool {
        let open = self.opens_at(count, now).is_some_and(|at| at <= now);
        if open {
            self.promised = self.after(self.promised, count, now);
        }
        open
    }

    /// Takes back tokens that were promised and not sent.
    pub(crate) fn take_back(&mut self, count: u32) {
        let earlier = self
            .promised
            .checked_sub(self.interval.saturating_mul(count));
        self.promised = earlier.unwrap_or(self.sent).max(self.sent);
    }

    /// Sends tokens that were promised.
    pub(crate) fn send(&mut self, count: u32, now: Instant) -> bool {
        let open = self.at(self.sent, count, now) <= now;
        if open {
            self.sent = self.after(self.sent, count, now);
            self.promised = self.promised.max(self.sent);
        }
        open
    }

    /// Sends nothing before `opens`, and has at most one token then.
    pub(crate) fn hold(&mut self, opens: Instant) {
        self.sent = self.sent.max(opens);
        self.promised = self.promised.max(self.sent);
    }

    /// Whether the share is full: a new share would not have more tokens.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.promised
            .checked_add(self.credit)
            .is_some_and(|at| at <= now)
    }

    fn begin(&self, schedule: Instant, now: Instant) -> Instant {
        match now.checked_sub(self.credit) {
            Some(earliest) => schedule.max(earliest),
            None => schedule,
        }
    }

    fn at(&self, schedule: Instant, count: u32, now: Instant) -> Instant {
        later(
            self.begin(schedule, now),
            self.interval.saturating_mul(count - 1),
        )
    }

    fn after(&self, schedule: Instant, count: u32, now: Instant) -> Instant {
        later(
            self.begin(schedule, now),
            self.interval.saturating_mul(count),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: u64 = 10_000_000;

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Wait(u64),
        Promise(u32),
        Send,
        TakeBack,
        Hold(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => (0_u64..80_000_000).prop_map(Act::Wait),
            4 => (1_u32..4).prop_map(Act::Promise),
            3 => Just(Act::Send),
            1 => Just(Act::TakeBack),
            1 => (0_u64..50_000_000).prop_map(Act::Hold),
        ]
    }

    proptest! {
        /// Promises that are used late, or never, make no difference to the bound.
        #[test]
        fn no_window_sees_more_than_the_share(burst in 1_u32..6, acts in prop::collection::vec(act(), 1..200)) {
            let start = Instant::now();
            let (mut now, mut promises, mut sent) = (start, Vec::new(), Vec::new());
            let mut local = Local::new(Terms::new(INTERVAL, burst), start);
            for act in acts {
                match act {
                    Act::Wait(nanos) => now += Duration::from_nanos(nanos),
                    Act::Hold(nanos) => local.hold(now + Duration::from_nanos(nanos)),
                    Act::Promise(count) => {
                        if local.promise(count, now) {
                            // Otherwise a waiter could be granted its turn again and again.
                            let sent = { local }.send(count, now);
                            prop_assert!(sent);
                            promises.push(count);
                        }
                    }
                    Act::Send => {
                        if let Some(count) = promises.pop() {
                            if local.send(count, now) {
                                sent.push((now, count));
                            } else {
                                local.take_back(count);
                            }
                        }
                    }
                    Act::TakeBack => {
                        if !promises.is_empty() {
                            local.take_back(promises.remove(0));
                        }
                    }
                }
            }
            for (i, &(from, _)) in sent.iter().enumerate() {
                let mut cost = 0;
                for &(to, count) in &sent[i..] {
                    cost += u64::from(count);
                    let earned = u64::try_from((to - from).as_nanos()).unwrap() / INTERVAL;
                    prop_assert!(cost <= u64::from(burst) + earned, "{sent:?}");
                }
            }
            if let Some(&(first, _)) = sent.first() {
                prop_assert!(first >= start + Duration::from_nanos(INTERVAL), "it starts empty");
            }
        }
    }

    #[test]
    fn all_of_an_unused_promise_comes_back() {
        let start = Instant::now();
        let mut local = Local::new(Terms::new(INTERVAL, 3), start);
        let later = start + Duration::from_secs(1);
        assert!(local.is_full(later));
        assert!(local.promise(3, later) && !local.promise(1, later));
        local.take_back(3);
        assert!(local.promise(3, later));
        assert_eq!(local.opens_at(4, later), None);
    }
}
