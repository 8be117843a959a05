use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Something to wait for that happens once, when the test says so. A handle, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    waiting: Vec<Waker>,
}

impl Latch {
    /// A closed latch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets all pass that wait, and all that will come.
    pub fn open(&self) {
        let waiting = {
            let mut state = self.lock();
            state.open = true;
            mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Makes those wait that come from now on.
    pub fn close(&self) {
        self.lock().open = false;
    }

    /// Whether the latch is open; if not, the task is woken when it is.
    pub fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Not under the lock: a waker may run any code.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if state.open {
            return Poll::Ready(());
        }
        state.waiting.push(waker);
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
