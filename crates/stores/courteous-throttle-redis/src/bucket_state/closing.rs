use tokio::time::Instant;

/// Until when a server asked for a pause.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Closing {
    until: Option<Instant>,
    count: u32,
}

impl Closing {
    /// When the bucket opens. `None` if it is open.
    pub(crate) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// How many times the bucket was closed. Slots that were set aside at another count are void.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Closes the bucket. Returns whether that made a difference.
    pub(crate) fn close(&mut self, opens: Instant, now: Instant) -> bool {
        if opens <= now || self.until.is_some_and(|until| opens <= until) {
            return false;
        }
        self.until = Some(opens);
        self.count = self.count.wrapping_add(1);
        true
    }

    /// Takes note of the time.
    pub(crate) fn settle(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        }
    }
}
