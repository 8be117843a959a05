use std::time::Duration;

use tokio::time::Instant;

use crate::terms::Terms;

/// The part of a rate that a worker has to itself while it cannot reach Redis.
///
/// Two schedules: that of what was sent, which keeps the bound, and that of what was promised to those who wait, which is
/// never ahead of it. A promise that is not used holds up nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    interval: Duration,
    /// What a full burst is worth, less one.
    credit: Duration,
    burst: u32,
    /// When what is left of the first burst would be used up.
    sent: Instant,
    promised: Instant,
}

impl Local {
    /// Starts empty, as what was sent before is not known.
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

    /// When `count` can be sent, if that is ever.
    pub(crate) fn opens_at(&self, count: u32, now: Instant) -> Option<Instant> {
        (count <= self.burst).then(|| self.at(self.promised, count, now))
    }

    /// Sets `count` aside.
    pub(crate) fn promise(&mut self, count: u32, now: Instant) -> bool {
        let open = self.opens_at(count, now).is_some_and(|at| at <= now);
        if open {
            self.promised = self.after(self.promised, count, now);
        }
        open
    }

    /// Gives back what was promised and not sent.
    pub(crate) fn take_back(&mut self, count: u32) {
        let earlier = self
            .promised
            .checked_sub(self.interval.saturating_mul(count));
        self.promised = earlier.unwrap_or(self.sent).max(self.sent);
    }

    /// Sends what was promised.
    pub(crate) fn send(&mut self, count: u32, now: Instant) -> bool {
        let open = self.at(self.sent, count, now) <= now;
        if open {
            self.sent = self.after(self.sent, count, now);
            self.promised = self.promised.max(self.sent);
        }
        open
    }

    /// Sends nothing before `opens`, and has at most one then.
    pub(crate) fn hold(&mut self, opens: Instant) {
        self.sent = self.sent.max(opens);
        self.promised = self.promised.max(self.sent);
    }

    /// Whether a new one would have no more.
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

/// For an instant that cannot be told.
const FAR: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

pub(crate) fn later(at: Instant, wait: Duration) -> Instant {
    at.checked_add(wait)
        .or_else(|| at.checked_add(FAR))
        .unwrap_or(at)
}
