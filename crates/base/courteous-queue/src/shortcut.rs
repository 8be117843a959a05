use crate::Serve;

/// A way past the lock of a [`Shared`](crate::Shared) limit, for those who need not know all that is under it.
///
/// It holds the limit's state, or some of it, while nobody has the lock. So nothing that happens under the lock has to know
/// of it. `T` is what stays under the lock meanwhile.
///
/// `()` is none.
pub trait Shortcut<T>: Send + Sync + 'static {
    /// What those see who have the lock.
    type Limit: Serve;

    /// Closes the shortcut, and makes the limit out of what it held: right after the lock was taken, before all else.
    fn close<'a>(&self, kept: &'a mut T) -> &'a mut Self::Limit;

    /// Opens it again, if the limit is in a state that allows that: right before the lock is released. It stays closed if
    /// there was a panic under the lock.
    fn open(&self, kept: &mut T);
}

impl<T: Serve> Shortcut<T> for () {
    type Limit = T;

    fn close<'a>(&self, limit: &'a mut T) -> &'a mut T {
        limit
    }

    fn open(&self, _: &mut T) {}
}
