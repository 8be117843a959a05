use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{BodyCount, Latch, Reply, Seen};

/// What all clones of a probe share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) bodies: BodyCount,
}

pub(crate) struct State {
    pub(crate) script: VecDeque<Reply>,
    pub(crate) otherwise: Arc<dyn Fn(&Seen) -> Reply + Send + Sync>,
    pub(crate) pending_polls: usize,
    pub(crate) pending_for: Option<Duration>,
    pub(crate) readiness: Latch,
    pub(crate) broken: bool,
    pub(crate) reads_bodies: bool,
    pub(crate) seen: Vec<Seen>,
    pub(crate) instances: usize,
    pub(crate) ready_held: usize,
    pub(crate) in_flight: usize,
    pub(crate) dropped: usize,
}

/// One instance's readiness, counted as long as it is held.
pub(crate) struct Readiness {
    shared: Arc<Shared>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            bodies: BodyCount::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readiness {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.lock().ready_held += 1;
        let shared = shared.clone();
        Self { shared }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.shared.lock().ready_held -= 1;
    }
}
