use std::time::Duration;

use tokio::time::Instant;

use crate::instants::{earliest, later};

/// The assumed cost of a look at one waiter. Looks are not taken more often than this cost allows.
const LOOK: Duration = Duration::from_micros(1);

/// When a limit looks at all of its waiters, to find those that cannot be served in time.
///
/// A look takes a time that grows with the queue. So after a look at n waiters, the next one is put
/// off for n microseconds, however often one is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Looks {
    /// No look is due.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            due: None,
            last: None,
        }
    }

    /// When the next look is due. `None` if every waiter can still be served in time.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Makes a look due at `at`, if no earlier look is due.
    pub fn by(&mut self, at: Option<Instant>) {
        self.due = earliest(self.due, at);
    }

    /// Makes no look due, as nothing waits.
    pub const fn none(&mut self) {
        self.due = None;
    }

    /// Whether to look now at `waiting` waiters. If a look is due, but would be too soon after the
    /// last one, it is put off.
    pub fn begin(&mut self, waiting: usize, now: Instant) -> bool {
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
    pub const fn taken(&mut self, next: Option<Instant>, now: Instant) {
        self.last = Some(now);
        self.due = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_at_a_thousand_waiters_is_a_millisecond_later() {
        let start = Instant::now();
        let mut looks = Looks::new();
        assert!(!looks.begin(1_000, start), "none is due");
        looks.by(Some(start));
        assert!(looks.begin(1_000, start));
        looks.taken(None, start);
        looks.by(Some(start));
        assert!(!looks.begin(1_000, start));
        let next = start + Duration::from_millis(1);
        assert_eq!(looks.due(), Some(next));
        assert!(!looks.begin(1_000, next - Duration::from_nanos(1)));
        assert!(looks.begin(1_000, next));
    }
}
