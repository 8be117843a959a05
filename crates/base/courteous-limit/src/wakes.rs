use std::{fmt, task::Waker};

/// Tasks to wake once a lock is released.
///
/// If a task were woken under the lock, it could run into that lock. With a waker that polls at
/// once, it would deadlock.
#[derive(Default)]
pub struct Wakes {
    // There is usually one waker, which needs no allocation.
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }

    /// Adds a task.
    pub fn push(&mut self, waker: Waker) {
        match &self.first {
            None => self.first = Some(waker),
            Some(_) => self.more.push(waker),
        }
    }

    /// Wakes all tasks in the order in which they were added. Must be called without a lock, as a
    /// waker may run any code.
    pub fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
        }
        self.more.into_iter().for_each(Waker::wake);
    }
}

impl Extend<Waker> for Wakes {
    fn extend<I: IntoIterator<Item = Waker>>(&mut self, wakers: I) {
        wakers.into_iter().for_each(|waker| self.push(waker));
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").finish_non_exhaustive()
    }
}

/// The waker of a waiter, from its last poll.
///
/// Wakers are cloned and dropped without a lock: both may run any code, such as another call of the
/// same limit.
#[derive(Debug, Default)]
pub struct KeptWaker(Option<Waker>);

impl KeptWaker {
    /// None is kept yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Keeps `waker`, and leaves the waker that it replaces in its place.
    pub fn keep(&mut self, waker: &mut Option<Waker>) {
        let known = match (&self.0, &*waker) {
            (Some(kept), Some(waker)) => kept.will_wake(waker),
            _ => false,
        };
        if !known {
            std::mem::swap(&mut self.0, waker);
        }
    }

    /// Takes the waker, to wake its task.
    pub const fn take(&mut self) -> Option<Waker> {
        self.0.take()
    }
}
