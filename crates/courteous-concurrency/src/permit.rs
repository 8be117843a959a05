use std::{fmt, sync::Arc};

use crate::limiter::Core;

/// The right to be in flight, given back when dropped.
pub(crate) struct Permit {
    core: Arc<Core>,
}

impl Permit {
    /// Owns a permit that was taken from `core`.
    pub(crate) const fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    #[cold]
    fn give_to_line(&self) {
        self.core.update(|line, _, _| line.give());
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.core.shortcut().try_give() {
            self.give_to_line();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
