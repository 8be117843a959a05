use std::{
    cell::RefCell,
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    rc::Rc,
    time::Duration,
};

use crate::scenario::{BATCH_ATTEMPTS, Scenario};

/// What a scenario requires of each client's stack, so that all stacks are judged alike.
#[derive(Clone)]
pub struct Requirements {
    seed: u64,
    attempt_timeout: Duration,
    total_timeout: Option<Duration>,
    attempts: Option<NonZeroU32>,
    in_flight: Option<NonZeroUsize>,
    budget_off: bool,
    audits: Rc<RefCell<Vec<Audit>>>,
}

type Audit = Box<dyn FnOnce() -> u64>;

impl Requirements {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let batch = scenario.is_batch();
        Self {
            seed: 0,
            attempt_timeout: Duration::from_millis(scenario.timeouts.0),
            total_timeout: scenario.total_timeout().map(Duration::from_millis),
            attempts: NonZeroU32::new(BATCH_ATTEMPTS).filter(|_| batch),
            in_flight: None,
            budget_off: scenario.budget_off,
            audits: Rc::default(),
        }
    }

    pub(crate) fn for_client(&self, seed: u64) -> Self {
        Self {
            seed,
            ..self.clone()
        }
    }

    /// The same for a hop of the scenario: a client that is a server, too.
    pub(crate) fn for_hop(mut self, scenario: &Scenario) -> Self {
        self.in_flight = scenario.hop_limit;
        self
    }

    /// How much has leaked, summed over all registered audits.
    pub(crate) fn audit(&self) -> u64 {
        let audits = self.audits.take();
        audits.into_iter().map(|audit| audit()).sum()
    }

    /// The client's own seed, for everything that its stack draws.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// How long an attempt may take.
    #[must_use]
    pub const fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }

    /// How long a call may take; `None` for batches.
    #[must_use]
    pub const fn total_timeout(&self) -> Option<Duration> {
        self.total_timeout
    }

    /// How many attempts a call may have; `None` for as many as the stack likes.
    #[must_use]
    pub const fn attempts(&self) -> Option<NonZeroU32> {
        self.attempts
    }

    /// How many calls may be in flight, by a fixed limit next to all others; `None` for as many as
    /// the stack likes.
    #[must_use]
    pub const fn in_flight(&self) -> Option<NonZeroUsize> {
        self.in_flight
    }

    /// Whether retries must have no budget, so that backoff is judged alone.
    #[must_use]
    pub const fn is_budget_off(&self) -> bool {
        self.budget_off
    }

    /// Registers `audit`, which is called when all calls are over. It returns the number of
    /// permits, tokens and the like that were not given back.
    pub fn at_end(&self, audit: impl FnOnce() -> u64 + 'static) {
        self.audits.borrow_mut().push(Box::new(audit));
    }
}

impl fmt::Debug for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requirements")
            .field("seed", &self.seed)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("total_timeout", &self.total_timeout)
            .field("attempts", &self.attempts)
            .field("in_flight", &self.in_flight)
            .field("budget_off", &self.budget_off)
            .finish_non_exhaustive()
    }
}
