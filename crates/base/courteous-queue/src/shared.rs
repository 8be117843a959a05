use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use crate::{
    Shortcut, Wakes,
    timer::{Ring, Set, Timer},
};

/// What a limit does for those who wait for it.
pub trait Serve: Send + 'static {
    /// Serves everybody whose turn has come by `now`, and says what the next one waits for.
    ///
    /// Called under the lock. An instant that is not later than `now` makes it be called again.
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next;

    /// Wakes everybody who waits: there is no runtime left whose timer could serve them. Each then has to
    /// [`join`](Shared::join) again, on a runtime of its own.
    fn rouse(&mut self, wakes: &mut Wakes);
}

/// What those who wait at a limit wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is nothing else to wait for")]
pub enum Next {
    /// An instant.
    At(Instant),
    /// Something that comes with an [`update`](Shared::update). No timer is set, but the waiting tasks' runtimes are
    /// remembered: that update may come from a thread without one, and ask for an instant.
    Event,
    /// Nothing: nobody waits. The runtimes are let go of.
    Nothing,
}

/// A limit's state under one mutex, with a timer that serves the waiting tasks by itself.
///
/// No task is spawned, and no task has to be polled for another one to be served: the timer's waker is the shared state.
///
/// # Runtimes
///
/// It needs no runtime until somebody waits, and outlives runtimes: every runtime on which a task has
/// [`join`](Self::join)ed has an alarm of its own until nobody waits any more. One that is shut down is noticed
/// and let go of; if none is left, all waiting tasks are woken to join again. No call panics outside of a runtime.
pub struct Shared<T, S: Shortcut<T> = ()> {
    shortcut: S,
    state: Mutex<State<T, S>>,
}

struct State<T, S: Shortcut<T>> {
    kept: T,
    /// Made when somebody waits: limits may be many, and few have somebody.
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
    /// Shares a limit that has a way past its lock, and `kept` under it.
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

    /// Looks at what is kept under the lock, as it is: some of the limit's state may be with the shortcut.
    pub fn peek<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.lock().kept)
    }

    /// Does something that changes nothing for those who wait. This is the fast path: it costs the lock.
    pub fn with<R>(&self, f: impl FnOnce(&mut S::Limit) -> R) -> R {
        self.locked(|limit, _| f(limit))
    }

    /// As [`with`](Self::with), by a task that is going to wait: `f` is given a way to learn whether the timer knows the
    /// task's runtime, as somebody who waits there has [`join`](Self::join)ed. If so, and what the next one waits for stays the
    /// same, the task need not join.
    ///
    /// In a crowd this is what nearly all find: it costs neither the clock nor the timer.
    pub fn attend<R>(&self, f: impl FnOnce(&mut S::Limit, &dyn Fn() -> bool) -> R) -> R {
        self.locked(|limit, timer| {
            let knows = || timer.as_ref().is_some_and(|timer| timer.knows_runtime());
            f(limit, &knows)
        })
    }

    /// Does something, then serves those who wait and sets the timer for the next one; then, without the lock, wakes
    /// those who were served and whom `f` added.
    ///
    /// `f` is told the time. It may be called anywhere, also when a waiting future is dropped.
    pub fn update<R>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut S::Limit, Instant, &mut Wakes) -> R,
    ) -> R {
        self.run(false, f)
    }

    /// As [`update`](Self::update), but leaves those who are to be woken in `wakes`: for a caller that has a lock of its own,
    /// and wakes them without it.
    pub fn update_into<R>(
        self: &Arc<Self>,
        wakes: &mut Wakes,
        f: impl FnOnce(&mut S::Limit, Instant, &mut Wakes) -> R,
    ) -> R {
        self.serve(false, wakes, f)
    }

    /// As [`update`](Self::update), by a task that is going to wait: from now on the timer also rings on the task's own
    /// runtime.
    ///
    /// Must be called from a poll, each time that the task is about to return "pending".
    ///
    /// # Panics
    ///
    /// If the current runtime's timers are disabled.
    pub fn join<R>(self: &Arc<Self>, f: impl FnOnce(&mut S::Limit, Instant, &mut Wakes) -> R) -> R {
        self.run(true, f)
    }

    /// When the timer will serve the queue next, if somebody waits for that.
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

    /// All that is done with the limit is done in here.
    fn locked<R>(&self, f: impl FnOnce(&mut S::Limit, &mut Option<Box<Timer<Self>>>) -> R) -> R {
        let State { kept, timer } = &mut *self.lock();
        let result = f(self.shortcut.close(kept), timer);
        self.shortcut.open(kept);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<T, S>> {
        // A panic under the lock can only be one of the timer's, which is as good as not set then.
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
