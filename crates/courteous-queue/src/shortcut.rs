/// A way past the lock of a [`Shared`](crate::Shared) limit, for those who need not know all that is under it.
///
/// It holds some of the limit's state while nobody has the lock. So nothing that happens under the lock has to know of it.
/// `()` is none.
pub trait Shortcut<T>: Send + Sync + 'static {
    /// Closes the shortcut, and lets `limit` know what it held: right after the lock was taken, before all else.
    fn close(&self, limit: &mut T);

    /// Opens it again, if `limit` is in a state that allows that: right before the lock is released. It stays closed if
    /// there was a panic under the lock.
    fn open(&self, limit: &T);
}

impl<T> Shortcut<T> for () {
    fn close(&self, _: &mut T) {}

    fn open(&self, _: &T) {}
}
