use crate::Serve;

/// A way past the lock of a [`Shared`](crate::Shared) limit, for callers that do not need the whole
/// state under the lock.
///
/// While the lock is free, the shortcut holds all or some of the limit's state. `T` is what stays
/// under the lock meanwhile. Code that runs under the lock does not have to know of the shortcut.
///
/// `()` is no shortcut.
pub trait Shortcut<T>: Send + Sync + 'static {
    /// What code that runs under the lock sees.
    type Limit: Serve;

    /// Closes the shortcut, and makes the limit out of what the shortcut held. Called right after
    /// the lock was taken, before anything else.
    fn close<'a>(&self, kept: &'a mut T) -> &'a mut Self::Limit;

    /// Opens the shortcut again, if the limit's state allows that. Called right before the lock is
    /// released. The shortcut stays closed if there was a panic under the lock.
    fn open(&self, kept: &mut T);
}

impl<T: Serve> Shortcut<T> for () {
    type Limit = T;

    fn close<'a>(&self, limit: &'a mut T) -> &'a mut T {
        limit
    }

    fn open(&self, _: &mut T) {}
}
