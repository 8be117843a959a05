use std::{fmt, sync::Arc, time::Duration};

use courteous_core::{CallContext, InvalidSettings, Pressure, RejectReason, Rejected};
use courteous_limit::{Order, PermitEntry, PermitQueue, StepTime};
use tokio::time::Instant;

use crate::{
    controller::Bounds,
    permit::{Permit, change},
    permits::{Core, Permits},
    settings::Waits,
    snapshot::{AdaptiveSnapshot, LearnedSnapshot},
    turn::PermitTurn,
};

/// How many attempts may be in flight to one server, learned from the server's answers, and the
/// queue of calls that wait.
///
/// ```
/// use courteous_adaptive::{AdaptiveLimitLayer, AdaptiveLimiter};
///
/// let limiter = AdaptiveLimiter::new();
/// let layer = AdaptiveLimitLayer::from(limiter.clone());
/// # drop(layer);
/// assert_eq!((limiter.limit(), limiter.in_flight(), limiter.waiting()), (20.0, 0, 0));
///
/// limiter.pin(5.0)?; // while you find out what is wrong
/// assert_eq!(limiter.limit(), 5.0);
/// limiter.unpin();
/// # Ok::<(), courteous_adaptive::InvalidSettings>(())
/// ```
///
/// # Sharing
///
/// A limiter is a cheap handle: all clones are the same limiter, in whatever stacks and services
/// they are used. It needs no runtime to be created, so it can be a `static` behind a `LazyLock`.
/// It can be used from several runtimes, at once or in turn.
#[derive(Clone)]
pub struct AdaptiveLimiter {
    core: Arc<Core>,
}

/// The answer to a call that asks for a permit.
pub(crate) enum Admission {
    Now(Permit),
    Wait(PermitTurn),
    Rejected(Rejected),
    /// The call is only observed: it is sent, although it would wait, or be rejected if that is
    /// true.
    Observed(Permit, bool),
}

impl AdaptiveLimiter {
    /// A limiter with the defaults: a limit between 0 and 1,000 that begins at 20, and answers that
    /// are late from five times the usual latency on.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Bounds::DEFAULT)
    }

    pub(crate) fn with(bounds: Bounds) -> Self {
        Self {
            core: Arc::new(Core::new(PermitQueue::new(Permits::new(bounds)))),
        }
    }

    /// The limit: how many attempts may be in flight. Below 1, attempts are sent one by one, at the
    /// limit divided by the latency: 0.1 at a latency of 0.5 s is one attempt in 5 s.
    #[must_use]
    pub fn limit(&self) -> f64 {
        self.core
            .with(|queue| queue.capacity().controller().limit())
    }

    /// How many attempts are in flight, to the end of their response bodies.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.core.with(|queue| {
            let in_flight = queue.capacity().controller().in_flight();
            in_flight.saturating_sub(queue.promised())
        })
    }

    /// How many calls wait to be admitted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.core.with(|queue| queue.waiting())
    }

    /// How many calls were rejected since the limiter was made.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.core.with(|queue| queue.capacity().rejected)
    }

    /// The latency of an attempt that no queue delays, as far as it was learned. `None` before the
    /// first answer.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        duration(
            self.core
                .with(|queue| queue.capacity().controller().baseline()),
        )
    }

    /// How much the server has to do, as far as its answers tell.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let now = Instant::now();
        self.core.with(|queue| queue.capacity().pressure(now))
    }

    /// Holds the limit at `limit`, until [`unpin`](Self::unpin). It goes on learning meanwhile.
    ///
    /// # Errors
    ///
    /// If `limit` is negative or no number. The limit is then as it was.
    pub fn pin(&self, limit: f64) -> Result<(), InvalidSettings> {
        if !(0.0..f64::INFINITY).contains(&limit) {
            let text = format!("{limit} must be a number from 0 on");
            return Err(InvalidSettings::new("limit", text));
        }
        change(&self.core, |permits, time| {
            permits.at(time.now()).0.pin(Some(limit))
        });
        Ok(())
    }

    /// Lets the limit be what was learned.
    pub fn unpin(&self) {
        change(&self.core, |permits, time| {
            permits.at(time.now()).0.pin(None)
        });
    }

    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        change(&self.core, |permits, time| {
            permits.at(time.now()).0.set_bounds(bounds)
        });
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.core
            .with(|queue| queue.capacity().controller().bounds())
    }

    /// A new limiter with the same bounds.
    pub(crate) fn like(&self) -> Self {
        Self::with(self.bounds())
    }

    /// Whether it is the same limiter.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }

    /// Whether it is worth keeping: there are calls, or there were within the last minute; or another
    /// handle is out, such as that of a call that has just chosen it.
    pub(crate) fn is_in_use(&self) -> bool {
        let now = Instant::now();
        Arc::strong_count(&self.core) > 1
            || self.core.with(|queue| {
                let is_waiting = queue.waiting() > 0;
                let (controller, now) = queue.capacity_mut().at(now);
                is_waiting || !controller.is_at_rest(now)
            })
    }

    /// What is in force now, for a health check or a support ticket.
    #[must_use]
    pub fn snapshot(&self) -> AdaptiveSnapshot {
        let (learned, rejected) = self.learned();
        AdaptiveSnapshot {
            keys: None,
            in_flight: learned.in_flight,
            waiting: learned.waiting,
            rejected,
            limits: vec![learned],
        }
    }

    /// The learned limit at one instant, and how many calls were rejected.
    pub(crate) fn learned(&self) -> (LearnedSnapshot, u64) {
        let now = Instant::now();
        self.core.with(|queue| {
            let permits = queue.capacity();
            let controller = permits.controller();
            let learned = LearnedSnapshot {
                key: None,
                limit: controller.limit(),
                pinned: controller.is_pinned(),
                in_flight: controller.in_flight().saturating_sub(queue.promised()),
                waiting: queue.waiting(),
                baseline: duration(controller.baseline()),
                pressure: permits.pressure(now).as_str().to_owned(),
            };
            (learned, permits.rejected)
        })
    }

    /// Returns a permit, or a place in the queue, or the reason for neither.
    pub(crate) fn admit(&self, context: Option<&CallContext>, waits: &Waits) -> Admission {
        let deadline = context.and_then(CallContext::deadline);
        let order = match deadline.is_some() && !waits.oldest_first {
            true => Order::NewestFirst,
            false => Order::OldestFirst,
        };
        let mut time = StepTime::new();
        let core = &self.core;
        let now = time.now();
        let latest = waits.latest(now, deadline);
        // A call that may not wait still gets a free permit.
        let max = match latest.is_some_and(|latest| latest <= now) {
            true => Some(0),
            false => waits.max_waiting,
        };
        let entry = core.with(|queue| {
            let (controller, seconds) = queue.capacity_mut().at(now);
            controller.offer(seconds);
            // An observed call joins no queue.
            let max = if waits.observed { Some(0) } else { max };
            let entry = queue.enter(max, order, &mut time);
            match entry {
                PermitEntry::Permit => Ok(queue.capacity_mut().start(now)),
                PermitEntry::Full(_) if waits.observed => {
                    let (controller, seconds) = queue.capacity_mut().at(now);
                    controller.admit_beyond(seconds);
                    Err((entry, Some(controller.start(seconds))))
                }
                entry => Err((entry, None)),
            }
        });
        match entry {
            Ok(flight) => Admission::Now(Permit::sent(Arc::clone(core), flight, deadline)),
            Err((_, Some(flight))) => {
                let permit = Permit::sent(Arc::clone(core), flight, deadline);
                Admission::Observed(permit, max == Some(0))
            }
            Err((PermitEntry::Queued(ticket), None)) => {
                let core = Arc::clone(core);
                Admission::Wait(PermitTurn::new(core, ticket, latest, deadline))
            }
            Err((PermitEntry::Full(at), None)) => {
                core.with(|queue| queue.capacity_mut().rejected += 1);
                let rejected = Rejected::new(RejectReason::Overloaded);
                Admission::Rejected(match at {
                    Some(at) => rejected.with_wait(now, at.saturating_duration_since(now)),
                    None => rejected,
                })
            }
            // Never: a permit is the first case.
            Err((PermitEntry::Permit, None)) => {
                Admission::Now(Permit::new(Arc::clone(core), deadline))
            }
        }
    }
}

/// So many seconds; none if they are 0.
fn duration(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

impl Default for AdaptiveLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AdaptiveLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiter")
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .field("baseline", &self.baseline())
            .finish_non_exhaustive()
    }
}
