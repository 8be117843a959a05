use courteous_core::Pressure;
use courteous_limit::{Capacity, PermitQueue, Shared, StepTime, Taken};
use tokio::time::{Duration, Instant};

use crate::controller::{Admission, Bounds, Controller, Flight, Load, Outcome};

/// The state of one limit, shared by its handles, its permits and its waiters.
pub(crate) type Core = Shared<PermitQueue<Permits>>;

/// The permits of one limit: the controller, in the time of this process.
#[derive(Debug)]
pub(crate) struct Permits {
    controller: Controller,
    /// The controller's time 0.
    origin: Instant,
    /// How many calls were rejected.
    pub(crate) rejected: u64,
}

impl Permits {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            controller: Controller::new(bounds),
            origin: Instant::now(),
            rejected: 0,
        }
    }

    /// The controller, and the time for it.
    pub(crate) fn at(&mut self, now: Instant) -> (&mut Controller, f64) {
        let now = self.seconds(now);
        (&mut self.controller, now)
    }

    pub(crate) const fn controller(&self) -> &Controller {
        &self.controller
    }

    /// How much the server has to do.
    pub(crate) fn pressure(&self, now: Instant) -> Pressure {
        match self.controller.load(self.seconds(now)) {
            Load::Calm => Pressure::Calm,
            Load::Unknown => Pressure::Unknown,
            Load::Raised => Pressure::Raised,
            Load::Overloaded => Pressure::Overloaded,
        }
    }

    pub(crate) fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.origin).as_secs_f64()
    }

    /// An admitted attempt is sent.
    pub(crate) fn start(&mut self, now: Instant) -> Flight {
        let now = self.seconds(now);
        self.controller.start(now)
    }

    /// A call that was admitted is not sent.
    pub(crate) fn unsend(&mut self) {
        self.controller.unsend();
    }

    /// An attempt is in flight no longer.
    pub(crate) const fn release(&mut self) {
        self.controller.release();
    }

    /// An attempt has its head, or has failed. `sent` is when it was sent, if that was later than
    /// its start.
    pub(crate) fn hear(
        &mut self,
        flight: Flight,
        sent: Option<Instant>,
        outcome: Outcome,
        now: Instant,
    ) {
        let flight = match sent {
            Some(sent) => flight.sent_at(self.seconds(sent)),
            None => flight,
        };
        let now = self.seconds(now);
        self.controller.hear(flight, outcome, now);
    }
}

impl Capacity for Permits {
    fn take(&mut self, time: &mut StepTime) -> Taken {
        let now = time.now();
        let seconds = self.seconds(now);
        match self.controller.admit(seconds) {
            Admission::Admitted => Taken::Permit,
            Admission::Full => Taken::None,
            Admission::Paced(at) => {
                // The controller bounds the wait, so it is a time that a `Duration` can be.
                Taken::Later(now + Duration::from_secs_f64(at - seconds))
            }
        }
    }

    fn give_back(&mut self, permits: usize) {
        for _ in 0..permits {
            self.unsend();
        }
    }
}
