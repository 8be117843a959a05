use std::{cell::RefCell, fmt, num::NonZeroU32, rc::Rc, time::Duration};

use crate::scenario::{ATTEMPT_TIMEOUT, BATCH_ATTEMPTS, Scenario, TOTAL_TIMEOUT};

/// What a scenario requires of each client's stack, so that all stacks are judged alike.
#[derive(Clone)]
pub struct Requirements {
    seed: u64,
    total_timeout: Option<Duration>,
    attempts: Option<NonZeroU32>,
    budget_off: bool,
    audits: Rc<RefCell<Vec<Audit>>>,
}

type Audit = Box<dyn FnOnce() -> u64>;

impl Requirements {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let batch = scenario.is_batch();
        Self {
            seed: 0,
            total_timeout: (!batch).then_some(Duration::from_millis(TOTAL_TIMEOUT)),
            attempts: NonZeroU32::new(BATCH_ATTEMPTS).filter(|_| batch),
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
        Duration::from_millis(ATTEMPT_TIMEOUT)
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
            .field("total_timeout", &self.total_timeout)
            .field("attempts", &self.attempts)
            .field("budget_off", &self.budget_off)
            .finish_non_exhaustive()
    }
}
