use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, Weak,
        atomic::{Ordering, fence},
    },
};

use courteous_core::{CallContext, InvalidCount, RejectReason, Rejected};
use courteous_limit::{Capacity as _, PermitEntry, PermitQueue, StepTime, Taken, Wakes};
use tokio::time::Instant;

use crate::{
    permit::Permit,
    permits::{FixedCapacity, LimitPlace, Permits, SharedQueue, held, is_idle, set_limit},
    settings::{Bound, Settings},
    snapshot::LimitSnapshot,
};

/// A number of permits that calls share, and the queue of calls that wait for one.
///
/// ```
/// use courteous_concurrency::{ConcurrencyLimitLayer, InvalidCount, Limiter};
///
/// let limiter = Limiter::new(64)?;
/// let layer = ConcurrencyLimitLayer::from(limiter.clone());
/// # drop(layer);
/// assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
///
/// limiter.set_limit(1)?; // from now on, for every stack that has the limiter
/// assert_eq!(limiter.limit().get(), 1);
/// let error = Limiter::new(0).unwrap_err();
/// assert_eq!(error.to_string(), "`limit` must be at least 1, not 0");
/// # Ok::<(), InvalidCount>(())
/// ```
///
/// # Sharing
///
/// A limiter is a cheap handle: all clones are the same limiter, in whatever stacks and services
/// they are used. It needs no runtime to be created, so it can be a `static` behind a `LazyLock`.
/// It can be used from several runtimes, at once or in turn.
#[derive(Clone)]
pub struct Limiter {
    queue: Arc<SharedQueue>,
}

/// The answer to a call that asks for a permit.
pub(crate) enum Admission {
    Now(Permit),
    Wait(LimitPlace, Option<Bound>, Option<Instant>),
    Rejected(Rejected),
    /// The call is only observed, and has found the limit full. It has a permit beyond the limit if
    /// it would have waited.
    Observed(Option<Permit>, Excess),
}

/// What would have happened to a call that is only observed and has found the limit full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excess {
    /// How many other calls were in flight.
    pub(crate) in_flight: usize,
    /// Why the call would have been rejected. `None` if it would have waited.
    pub(crate) rejected: Option<RejectReason>,
}

impl Limiter {
    /// A limiter that admits `limit` calls at a time. [`From`] takes a [`NonZeroUsize`].
    ///
    /// # Errors
    ///
    /// If `limit` is 0.
    pub fn new(limit: usize) -> Result<Self, InvalidCount> {
        at_least_one(limit).map(Self::from)
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queue.with(|queue| held(queue))
    }

    /// How many calls wait to be admitted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.with(|queue| queue.waiting())
    }

    /// How many calls may be in flight at a time.
    #[must_use]
    pub fn limit(&self) -> NonZeroUsize {
        let limit = self.queue.with(|queue| queue.capacity().limit());
        NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN)
    }

    /// Changes the limit from now on.
    ///
    /// A higher limit admits waiting calls at once. If the new limit is lower than the number of
    /// calls in flight, no call loses its permit: the next call is admitted when fewer than `limit`
    /// are left.
    ///
    /// # Errors
    ///
    /// If `limit` is 0. The limit is then as it was.
    pub fn set_limit(&self, limit: usize) -> Result<(), InvalidCount> {
        at_least_one(limit).map(|limit| self.resize(limit))
    }

    pub(crate) fn resize(&self, limit: NonZeroUsize) {
        self.queue
            .update(|queue, _, _| set_limit(queue, limit.get()));
    }

    /// As [`set_limit`](Self::set_limit), but leaves the wakers to be woken in `wakes`.
    pub(crate) fn set_limit_into(&self, limit: NonZeroUsize, wakes: &mut Wakes) {
        self.queue
            .update_into(wakes, |queue, _, _| set_limit(queue, limit.get()));
    }

    /// What is in force now, for a health check or a support ticket.
    #[must_use]
    pub fn snapshot(&self) -> LimitSnapshot {
        let (in_flight, waiting) = self.calls();
        let mut snapshot = LimitSnapshot::new(self.limit().get());
        snapshot.count(in_flight, waiting);
        snapshot
    }

    /// In flight and waiting, at one instant.
    pub(crate) fn calls(&self) -> (usize, usize) {
        self.queue.with(|queue| (held(queue), queue.waiting()))
    }

    pub(crate) fn downgrade(&self) -> WeakLimiter {
        WeakLimiter(Arc::downgrade(&self.queue))
    }

    /// Whether a new limiter would do the same, and no call can come to this one: there is no call,
    /// neither in flight nor waiting, and this is the only handle.
    ///
    /// The caller must hold the lock under which the handle is cloned.
    pub(crate) fn is_spare(&self) -> bool {
        if !self.is_idle() {
            return false;
        }
        let owners = Arc::strong_count(&self.queue);
        // A permit that was taken back owns the queue until its body is dropped, but returns
        // nothing. Such permits are counted after the owners: a permit is first discounted, and
        // lets go of the queue after that. Else a handle could be taken for a permit.
        fence(Ordering::Acquire);
        owners == 1 + self.queue.shortcut().leases.taken_back()
    }

    /// Whether there is no call, neither in flight nor waiting.
    fn is_idle(&self) -> bool {
        let leases = &self.queue.shortcut().leases;
        self.queue.with(|queue| {
            // No call waits for the permits that are taken back, so no call has to be woken.
            if !is_idle(queue) && queue.waiting() == 0 {
                let overdue = leases.take_back(Instant::now);
                queue.capacity_mut().give(overdue);
            }
            is_idle(queue)
        })
    }

    /// Returns a permit, or a place in the queue, or the reason for neither. It takes no lock if a
    /// permit is free, no call waits, and the call has no deadline. It then does not read the clock
    /// either.
    #[inline]
    pub(crate) fn admit(self, context: Option<&CallContext>, settings: &Settings) -> Admission {
        match self.queue.shortcut().slots.try_take() {
            true => Admission::Now(Permit::new(self.queue, settings.end(context))),
            false => self.admit_or_wait(context, settings),
        }
    }

    /// Like [`admit`](Self::admit), for a call that found no free permit. First takes back the
    /// permits of calls that are over.
    #[cold]
    fn admit_or_wait(self, context: Option<&CallContext>, settings: &Settings) -> Admission {
        let bound = settings.bound(context);
        // A call that may not wait still gets a free permit.
        let max_waiting = match bound {
            Ok(_) => settings.max_waiting,
            Err(_) => Some(0),
        };
        let overdue = self.queue.shortcut().leases.take_back(Instant::now);
        if overdue > 0 {
            self.queue
                .update(|queue, _, _| queue.capacity_mut().give(overdue));
        }
        if settings.observed {
            return self.observe(context, settings, max_waiting, bound.err());
        }
        let queue = self.queue;
        let end = settings.end(context);
        let order = settings.order(context);
        let entry = queue.with(|queue| queue.enter(max_waiting, order, &mut StepTime::new()));
        let reason = match (entry, bound) {
            (PermitEntry::Permit, _) => return Admission::Now(Permit::new(queue, end)),
            (PermitEntry::Queued(ticket), Ok(bound)) => {
                let place = LimitPlace::new(queue, ticket);
                return Admission::Wait(place, bound, end);
            }
            // Never a place, as this call may not wait.
            (PermitEntry::Full(_) | PermitEntry::Queued(_), Err(reason)) => reason,
            (PermitEntry::Full(_), Ok(_)) => settings.queue_full(),
        };
        Admission::Rejected(Rejected::new(reason))
    }

    /// Admits a call that is only observed. If no permit is free, it gets one beyond the limit, and
    /// none if `max_waiting` others wait, or would wait if they were not beyond the limit.
    ///
    /// A promise to a waiter stays as it is.
    fn observe(
        self,
        context: Option<&CallContext>,
        settings: &Settings,
        max_waiting: Option<usize>,
        late: Option<RejectReason>,
    ) -> Admission {
        let excess = self.queue.with(|queue| {
            if queue.capacity_mut().take(&mut StepTime::new()) == Taken::Permit {
                return None;
            }
            let waiting = queue.waiting().saturating_add(queue.capacity().excess());
            let is_full = max_waiting.is_some_and(|max| waiting >= max);
            let excess = Excess {
                in_flight: held(queue),
                rejected: is_full.then(|| late.unwrap_or(settings.queue_full())),
            };
            if !is_full {
                queue.capacity_mut().take_beyond();
            }
            Some(excess)
        });
        let end = settings.end(context);
        let permit = |queue| Permit::new(queue, end);
        match excess {
            None => Admission::Now(permit(self.queue)),
            Some(excess) => {
                let is_sent_beyond = excess.rejected.is_none();
                Admission::Observed(is_sent_beyond.then(|| permit(self.queue)), excess)
            }
        }
    }
}

impl From<NonZeroUsize> for Limiter {
    fn from(limit: NonZeroUsize) -> Self {
        let limit = limit.get();
        Self {
            queue: Arc::new(SharedQueue::with_shortcut(
                PermitQueue::new(FixedCapacity::new(limit)),
                Permits::new(limit),
            )),
        }
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .finish()
    }
}

/// A limiter of a key, which may have been forgotten.
pub(crate) struct WeakLimiter(Weak<SharedQueue>);

impl WeakLimiter {
    pub(crate) fn upgrade(&self) -> Option<Limiter> {
        self.0.upgrade().map(|queue| Limiter { queue })
    }

    /// In flight and waiting, at one instant. None of both if the limiter was forgotten.
    pub(crate) fn calls(&self) -> (usize, usize) {
        self.upgrade().map_or((0, 0), |limiter| limiter.calls())
    }

    /// Whether it is the same limiter.
    pub(crate) fn is(&self, limiter: &Limiter) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&limiter.queue))
    }
}

pub(crate) fn at_least_one(limit: usize) -> Result<NonZeroUsize, InvalidCount> {
    NonZeroUsize::new(limit).ok_or(InvalidCount::new("limit"))
}
