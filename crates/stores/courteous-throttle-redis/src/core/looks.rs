use std::time::Duration;

use tokio::time::Instant;

use crate::local::{earliest, later};

/// The assumed cost of a look at one waiter. Looks are not taken more often than this cost allows.
const LOOK: Duration = Duration::from_micros(1);

/// When all waiters are looked at, to find those that cannot be served in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looks {
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Looks {
    /// When the next look is due. `None` if every waiter can still be served in time.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Makes a look due at `at`, if no earlier look is due.
    pub(crate) fn by(&mut self, at: Option<Instant>) {
        self.due = earliest(self.due, at);
    }

    /// Makes a look due now.
    pub(crate) const fn now(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// Makes no look due, as nothing waits.
    pub(crate) const fn none(&mut self) {
        self.due = None;
    }

    /// If the look that is due was due before `now`, makes it due at `now`.
    pub(crate) fn not_before(&mut self, now: Instant) {
        self.due = self.due.map(|at| at.max(now));
    }

    /// Whether to look now at `waiting` waiters. If a look is due, but would be too soon after the
    /// last one, it is put off.
    pub(crate) fn begin(&mut self, waiting: usize, now: Instant) -> bool {
        if self.due.is_none_or(|at| at > now) {
            return false;
        }
        let pause = LOOK.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        let next = self.last.map(|last| later(last, pause));
        let Some(next) = next.filter(|&next| next > now) else {
            return true;
        };
        self.due = Some(next);
        false
    }

    /// Notes that a look was taken. The next look is due at `next`.
    pub(crate) const fn taken(&mut self, next: Option<Instant>, now: Instant) {
        self.last = Some(now);
        self.due = next;
    }
}
