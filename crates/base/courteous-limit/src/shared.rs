use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{
    Next, Serve, Shortcut, Wakes,
    timer::{Ring, Set, Timer},
};

/// A limit's state under one mutex, with a timer that serves the waiting tasks automatically.
///
/// No task is spawned, and no task has to be polled for another one to be served. The timer's waker
/// is the shared state.
///
/// # Runtimes
///
/// The limit needs no runtime until it has a waiter, and it outlives runtimes. Every runtime on
/// which a task has called [`join`](Self::join) gets an alarm of its own. It keeps that alarm until
/// the limit has no waiter any more. A runtime that is shut down is noticed and let go. If no
/// runtime is left, all waiting tasks are woken, so that they join again. No call panics outside of
/// a runtime.
pub struct Shared<T, S: Shortcut<T> = ()> {
    shortcut: S,
    state: Mutex<State<T, S>>,
}

struct State<T, S: Shortcut<T>> {
    kept: T,
    /// Made when the first waiter joins: there may be many limits, and few of them have a waiter.
    timer: Option<Box<Timer<Shared<T, S>>>>,
}

impl<T: Serve> Shared<T> {
    /// Shares `limit`.
    #[must_use]
    pub const fn new(limit: T) -> Self {
        Self::with_shortcut(limit, ())
    }
}

impl<T: Send + 'static, S: Shortcut<T>> Shared<T, S> {
    /// Shares a limit that has a way past its lock. `kept` is what stays under the lock.
    #[must_use]
    pub const fn with_shortcut(kept: T, shortcut: S) -> Self {
        let state = State { kept, timer: None };
        Self {
            shortcut,
            state: Mutex::new(state),
        }
    }

    /// The way past the lock.
    pub const fn shortcut(&self) -> &S {
        &self.shortcut
    }

    /// Looks at the value that is kept under the lock, as it is. Some of the limit's state may be
    /// with the shortcut.
    pub fn peek<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.lock().kept)
    }

    /// Runs `f`, which must change nothing for the waiters. This is the fast path: it only costs
    /// the lock.
    pub fn with<R>(&self, f: impl FnOnce(&mut S::Limit) -> R) -> R {
        self.locked(|limit, _| f(limit))
    }

    /// Does the same as [`with`](Self::with), for a task that is going to wait. `f` also gets a
    /// function that tells whether the timer knows the task's runtime. The timer knows it if
    /// another waiter on that runtime has called [`join`](Self::join). Then the task need not join,
    /// as long as the next waiter still waits for the same thing.
    ///
    /// In a crowd, nearly all tasks find this case. It needs neither the clock nor the timer.
    pub fn attend<R>(&self, f: impl FnOnce(&mut S::Limit, &dyn Fn() -> bool) -> R) -> R {
        self.locked(|limit, timer| {
            let knows = || timer.as_ref().is_some_and(|timer| timer.knows_runtime());
            f(limit, &knows)
        })
    }

    /// Runs `f`, then serves the waiters and sets the timer for the next one. After that, without
    /// the lock, wakes the served waiters and those that `f` added.
    ///
    /// `f` gets the current time. `update` may be called anywhere, even while a waiting future is
    /// dropped.
    pub fn update<R>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut S::Limit, Instant, &mut Wakes) -> R,
    ) -> R {
        self.run(false, f)
    }

    /// Does the same as [`update`](Self::update), but leaves the waiters to be woken in `wakes`.
    /// This is for a caller that has a lock of its own, and wakes the waiters without that lock.
    pub fn update_into<R>(
        self: &Arc<Self>,
        wakes: &mut Wakes,
        f: impl FnOnce(&mut S::Limit, Instant, &mut Wakes) -> R,
    ) -> R {
        self.serve(false, wakes, f)
    }

    /// Does the same as [`update`](Self::update), for a task that is going to wait. From now on,
    /// the timer also rings on the task's own runtime.
    ///
    /// Must be called from a poll, each time that the task is about to return "pending".
    ///
    /// # Panics
    ///
    /// If the timers of the current runtime are disabled.
    pub fn join<R>(self: &Arc<Self>, f: impl FnOnce(&mut S::Limit, Instant, &mut Wakes) -> R) -> R {
        self.run(true, f)
    }

    /// When the timer will serve the queue next. `None` if no waiter waits for an instant.
    #[must_use]
    pub fn armed_at(&self) -> Option<Instant> {
        self.lock().timer.as_ref()?.at()
    }

    fn run<R>(
        self: &Arc<Self>,
        joining: bool,
        f: impl FnOnce(&mut S::Limit, Instant, &mut Wakes) -> R,
    ) -> R {
        let mut wakes = Wakes::new();
        let result = self.serve(joining, &mut wakes, f);
        wakes.wake();
        result
    }

    fn serve<R>(
        self: &Arc<Self>,
        joining: bool,
        wakes: &mut Wakes,
        f: impl FnOnce(&mut S::Limit, Instant, &mut Wakes) -> R,
    ) -> R {
        self.locked(|limit, timer| {
            let mut now = Instant::now();
            let result = f(limit, now, wakes);
            let joining = joining.then_some(self);
            loop {
                let at = match limit.serve(now, wakes) {
                    Next::At(at) => at,
                    Next::Event => {
                        timer.get_or_insert_default().rest(now, joining);
                        break;
                    }
                    Next::Nothing => {
                        *timer = None;
                        break;
                    }
                };
                match timer.get_or_insert_default().set(at, now, joining) {
                    Set::Armed => break,
                    Set::Due => now = Instant::now(),
                    Set::Deaf => {
                        limit.rouse(wakes);
                        break;
                    }
                }
            }
            result
        })
    }

    /// Everything that is done with the limit goes through this function.
    fn locked<R>(&self, f: impl FnOnce(&mut S::Limit, &mut Option<Box<Timer<Self>>>) -> R) -> R {
        let State { kept, timer } = &mut *self.lock();
        let result = f(self.shortcut.close(kept), timer);
        self.shortcut.open(kept);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<T, S>> {
        // Only the timer can panic under the lock. After such a panic, the timer counts as not set.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static, S: Shortcut<T>> Ring for Shared<T, S> {
    fn ring(self: Arc<Self>) {
        self.update(|_, _, _| ());
    }
}

impl<T: Send + fmt::Debug + 'static, S: Shortcut<T>> fmt::Debug for Shared<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Shared")
            .field("limit", &state.kept)
            .field("timer", &state.timer)
            .finish()
    }
}
