use std::{fmt, sync::Arc};

use tokio::time::Instant;

use crate::{leases::Lease, permits::Core};

/// The right to be in flight. It is given back when dropped, or taken back after the call's
/// deadline.
pub struct Permit {
    core: Arc<Core>,
    lease: Option<Lease>,
}

impl Permit {
    /// Owns a permit that was taken from `core`, for a call that is over at `end` at the latest.
    #[inline]
    pub(crate) fn new(core: Arc<Core>, end: Option<Instant>) -> Self {
        let lease = end.map(|end| core.shortcut().leases.begin(end));
        Self { core, lease }
    }

    #[cold]
    fn give_to_line(&self) {
        self.core.update(|line, _, _| line.give());
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        let permits = self.core.shortcut();
        if let Some(lease) = self.lease
            && !permits.leases.end(lease)
        {
            // The permit was taken back after the deadline.
            return;
        }
        if !permits.slots.try_give() {
            self.give_to_line();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
