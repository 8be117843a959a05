use std::{fmt, sync::Arc};

use courteous_core::Pressure;
use courteous_limit::StepTime;
use tokio::time::Instant;

use crate::{
    controller::{Flight, Outcome},
    permits::{Core, Permits},
};

/// The right of one attempt to be in flight. It is given back when dropped.
///
/// If the attempt was sent, and nothing was heard of it by then, its caller has given up.
pub struct Permit {
    core: Arc<Core>,
    state: State,
    /// When the call is over, whatever its outcome.
    deadline: Option<Instant>,
}

#[derive(Clone, Copy)]
enum State {
    Unsent,
    Sent(Flight),
    /// The head is there, or the attempt has failed.
    Heard,
}

impl Permit {
    /// Owns a permit that was taken from `core`.
    pub(crate) const fn new(core: Arc<Core>, deadline: Option<Instant>) -> Self {
        let state = State::Unsent;
        Self {
            core,
            state,
            deadline,
        }
    }

    /// Owns a permit that was taken from `core`, of an attempt that is sent now.
    pub(crate) const fn sent(core: Arc<Core>, flight: Flight, deadline: Option<Instant>) -> Self {
        let state = State::Sent(flight);
        Self {
            core,
            state,
            deadline,
        }
    }

    /// The attempt is sent now.
    pub(crate) fn send(&mut self) {
        let flight = change(&self.core, |permits, time| permits.start(time.now()));
        self.state = State::Sent(flight);
    }

    /// The attempt has its head, or has failed. `sent` is when it was sent, if another layer held it
    /// back.
    /// Returns how much the server has to do.
    pub(crate) fn hear(&mut self, outcome: Outcome, sent: Option<Instant>) -> Pressure {
        let State::Sent(flight) = self.state else {
            return Pressure::Calm;
        };
        self.state = State::Heard;
        change(&self.core, |permits, time| {
            let now = time.now();
            permits.hear(flight, sent, outcome, now);
            permits.pressure(now)
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Self {
            state, deadline, ..
        } = *self;
        change(&self.core, |permits, time| match state {
            State::Unsent => permits.unsend(),
            State::Heard => permits.release(),
            State::Sent(flight) => {
                let now = time.now();
                let outcome = match deadline.is_some_and(|deadline| deadline <= now) {
                    true => Outcome::TimedOut,
                    false => Outcome::Dropped,
                };
                permits.hear(flight, None, outcome, now);
                permits.release();
            }
        });
    }
}

/// Changes the permits, and serves the waiters, if there are any.
pub(crate) fn change<R>(core: &Arc<Core>, f: impl FnOnce(&mut Permits, &mut StepTime) -> R) -> R {
    let mut time = StepTime::new();
    let (result, is_empty) = core.with(|queue| {
        let result = f(queue.capacity_mut(), &mut time);
        (result, queue.is_empty())
    });
    if !is_empty {
        core.update(|_, _, _| ());
    }
    result
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
