use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

/// What the exchanges on a connection say to it, and it to them.
#[derive(Default)]
pub(super) struct Line {
    lost: Notify,
    state: Mutex<LineState>,
}

#[derive(Default)]
struct LineState {
    resets: bool,
    /// How often all that was written has gone to the socket.
    flushes: u64,
    waiting: Vec<Waker>,
}

impl Line {
    /// Ends the connection: in good order, or with a reset.
    pub(super) fn lose(&self, with_reset: bool) {
        self.lock().resets |= with_reset;
        self.lost.notify_one();
    }

    /// Resolves when the connection is to end.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }

    /// Whether the connection ends with a reset.
    pub(super) fn resets(&self) -> bool {
        self.lock().resets
    }

    /// How often all that was written has gone to the socket.
    pub(super) fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    /// Waits until all that was written has gone to the socket, once more than `flushes` times.
    pub(super) fn poll_flushed(&self, flushes: u64, cx: &Context<'_>) -> Poll<()> {
        // Cloned before the record is locked, as a waker is foreign code.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if state.flushes > flushes {
            drop(state);
            return Poll::Ready(());
        }
        state.waiting.push(waker);
        Poll::Pending
    }

    /// Notes that all that was written has gone to the socket.
    pub(super) fn flushed(&self) {
        let waiting = {
            let mut state = self.lock();
            state.flushes += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
