use std::{
    cell::Cell,
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::{
    runtime::{self, Handle},
    task::coop,
    time::{Instant, Sleep},
};

/// Added to the present, it gives an instant that has not come yet.
const MOMENT: Duration = Duration::from_millis(1);

thread_local! {
    /// Whether this thread is setting a timer. It then holds the lock that ringing would take.
    static SETTING: Cell<bool> = const { Cell::new(false) };
}

/// What a [`Timer`] calls when its instant has come. The call can come from any thread. It holds no
/// lock of the timer.
pub(crate) trait Ring: Send + Sync + 'static {
    fn ring(self: Arc<Self>);
}

/// An instant at which the timer's owner is called, on every runtime that has tasks waiting for it.
///
/// The timer keeps one `Sleep` for each runtime. Nearly always there is only one. A single `Sleep`
/// for all runtimes would not be enough. Some runtimes are not driven, such as a `current_thread`
/// runtime outside of `block_on`. Such a runtime never fires its timers, and must not hold up the
/// tasks of another runtime.
///
/// A `Sleep` may only be *polled* while its runtime lives, and nothing tells whether it does. But
/// *setting* a `Sleep` never panics. If a `Sleep` was set to the future and counts as elapsed, its
/// runtime is dead. So each `Sleep` is set first, and dropped if its runtime is dead. It is polled
/// only if it has fired since and is pending now.
pub(crate) struct Timer<R> {
    alarms: Vec<Alarm<R>>,
    /// When the alarms ring.
    at: Option<Instant>,
}

struct Alarm<R> {
    runtime: runtime::Id,
    sleep: Pin<Box<Sleep>>,
    bell: Arc<Bell<R>>,
}

/// The waker of an alarm.
struct Bell<R> {
    /// Weak, as the owner owns the alarm.
    owner: Weak<R>,
    /// Whether the bell must be left with the `Sleep` again. A `Sleep` gives its waker away when it
    /// fires.
    rang: AtomicBool,
}

/// The result of setting a [`Timer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// It will ring.
    Armed,
    /// Its instant has come.
    Due,
    /// No runtime is left to ring on. The waiting tasks must be woken, so that each sets the timer
    /// on its own runtime.
    Deaf,
}

impl<R> Default for Timer<R> {
    fn default() -> Self {
        Self {
            alarms: Vec::new(),
            at: None,
        }
    }
}

impl<R: Ring> Timer<R> {
    /// Sets the timer to `at`. With `joining`, the timer also rings that owner on the current
    /// runtime. `joining` must come from a poll on a live runtime.
    pub(crate) fn set(&mut self, at: Instant, now: Instant, joining: Option<&Arc<R>>) -> Set {
        if at <= now {
            return Set::Due;
        }
        self.remember(joining);
        let moved = self.at.replace(at) != Some(at);
        let mut due = false;
        let _setting = Setting::begin();
        self.alarms.retain_mut(|alarm| {
            let armed = alarm.set_if(moved, at);
            let dead = !armed && Instant::now() < at;
            due |= !armed && !dead;
            !dead
        });
        if due {
            self.at = None;
            Set::Due
        } else if self.alarms.is_empty() {
            self.at = None;
            Set::Deaf
        } else {
            Set::Armed
        }
    }

    /// Keeps the alarms for the next time that the timer is set, and adds one for `joining`. An
    /// alarm that is already set still rings once.
    pub(crate) fn rest(&mut self, now: Instant, joining: Option<&Arc<R>>) {
        if self.remember(joining) && self.alarms.len() > 1 {
            // Setting the alarms is the only way to learn which runtimes are dead.
            self.set(now + MOMENT, now, None);
        }
        self.at = None;
    }

    /// Makes an alarm for the current runtime. Returns whether there was none before.
    fn remember(&mut self, joining: Option<&Arc<R>>) -> bool {
        if let Some(ring) = joining
            && let Ok(handle) = Handle::try_current()
            && !self.knows(&handle)
        {
            self.alarms.push(Alarm {
                runtime: handle.id(),
                sleep: Box::pin(tokio::time::sleep_until(Instant::now())),
                bell: Arc::new(Bell {
                    owner: Arc::downgrade(ring),
                    rang: AtomicBool::new(true),
                }),
            });
            return true;
        }
        false
    }

    /// Whether there is an alarm for the current runtime.
    pub(crate) fn knows_runtime(&self) -> bool {
        let handle = Handle::try_current();
        handle.is_ok_and(|handle| self.knows(&handle))
    }

    fn knows(&self, handle: &Handle) -> bool {
        let id = handle.id();
        self.alarms.iter().any(|alarm| alarm.runtime == id)
    }

    pub(crate) const fn at(&self) -> Option<Instant> {
        self.at
    }
}

impl<R: Ring> Alarm<R> {
    /// Makes sure that the alarm rings at `at`: sets it if it rang, or if that instant `moved`.
    /// Returns whether it will ring. If it will not, `at` has come, or its runtime is dead.
    fn set_if(&mut self, moved: bool, at: Instant) -> bool {
        let rang = self.bell.rang.swap(false, Ordering::Relaxed);
        if rang || moved {
            self.sleep.as_mut().reset(at);
        }
        let pending = !self.sleep.is_elapsed() && (!rang || self.listen());
        if !pending {
            self.bell.rang.store(true, Ordering::Relaxed);
        }
        pending
    }

    /// Leaves the bell with the `Sleep`. Returns whether the `Sleep` is still pending.
    fn listen(&mut self) -> bool {
        let bell = Waker::from(Arc::clone(&self.bell));
        // Unconstrained: a task that has used up its budget would be told "pending", and its waker
        // would not be kept.
        let sleep = pin!(coop::unconstrained(self.sleep.as_mut()));
        sleep.poll(&mut Context::from_waker(&bell)) == Poll::Pending
    }
}

impl<R: Ring> Wake for Bell<R> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Relaxed);
        // Setting a `Sleep` can call its waker at once, under the lock of the thread that sets it.
        // That thread looks at the `Sleep` afterwards.
        if !SETTING.get()
            && let Some(owner) = self.owner.upgrade()
        {
            owner.ring();
        }
    }
}

/// Marks the thread as setting a timer. The mark is also removed if that panics.
struct Setting;

impl Setting {
    fn begin() -> Self {
        SETTING.set(true);
        Self
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        SETTING.set(false);
    }
}

impl<R> fmt::Debug for Timer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("at", &self.at)
            .field("alarms", &self.alarms.len())
            .finish()
    }
}
