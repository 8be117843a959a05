use std::time::Duration;

use tokio::time::Instant;

use crate::instants::later;

/// Two resets that are no further apart are the same one: servers count in whole seconds, and responses take their time.
const SAME: Duration = Duration::from_secs(2);

/// The spacing of sends that makes a server's quota last until it is reset.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    reset: Instant,
    remaining: u64,
    interval: Duration,
    /// Nothing is sent before this.
    next: Instant,
}

impl Pace {
    /// `None` if there is nothing left to be spread, or no time to spread it over.
    #[must_use]
    pub fn new(remaining: u64, reset: Duration, now: Instant) -> Option<Self> {
        if remaining == 0 || reset.is_zero() {
            return None;
        }
        let reset = later(now, reset);
        let mut pace = Self {
            reset,
            remaining,
            interval: Duration::ZERO,
            next: now,
        };
        pace.respace(now);
        Some(pace)
    }

    /// What holds after the response that says this, if `known` held before it.
    ///
    /// Responses overtake each other: within a window, one can only lower what is left. A later window replaces an earlier
    /// one; an earlier one is an old response, or another limit of the server's, and counts if it is the stricter one.
    #[must_use]
    pub fn after(mut self, known: Option<Self>, now: Instant) -> Option<Self> {
        let Some(known) = known.filter(|known| !known.is_over(now)) else {
            return Some(self);
        };
        let apart = match self.reset.checked_duration_since(known.reset) {
            Some(apart) => apart,
            None => known.reset.duration_since(self.reset),
        };
        if apart <= SAME {
            self.reset = known.reset;
            self.remaining = self.remaining.min(known.remaining).max(1);
            self.respace(now);
        } else if self.reset < known.reset && self.interval <= known.interval {
            return Some(known);
        }
        self.next = known.next.min(later(now, self.interval)).max(now);
        Some(self)
    }

    /// As this one, but its next send is not before that of `known`, whose turns up to there were given out.
    pub(super) fn behind(mut self, known: Option<Self>, now: Instant) -> Self {
        if let Some(known) = known.filter(|known| !known.is_over(now)) {
            self.next = self.next.max(known.next);
        }
        self
    }

    /// The earliest instant of the next send.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// When the turn of a waiter comes that is behind others which cost `ahead`.
    #[must_use]
    pub fn turn(&self, ahead: u64) -> Instant {
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        later(self.next, self.interval.saturating_mul(ahead)).min(self.reset.max(self.next))
    }

    /// Counts a send that costs `cost`, now or at the next turn.
    pub fn spend(&mut self, cost: u32, now: Instant) {
        self.remaining = self.remaining.saturating_sub(u64::from(cost));
        self.next = later(self.next.max(now), self.interval.saturating_mul(cost)).min(self.reset);
    }

    /// Takes a send back.
    pub fn unspend(&mut self, cost: u32) {
        self.remaining = self.remaining.saturating_add(u64::from(cost));
        let back = self.interval.saturating_mul(cost);
        self.next = self.next.checked_sub(back).unwrap_or(self.next);
    }

    /// Whether the quota has been reset since.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.reset
    }

    pub(crate) const fn reset(&self) -> Instant {
        self.reset
    }

    fn respace(&mut self, now: Instant) {
        let left = self.reset.saturating_duration_since(now).as_nanos();
        let nanos = left.div_ceil(u128::from(self.remaining));
        self.interval = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    }
}
