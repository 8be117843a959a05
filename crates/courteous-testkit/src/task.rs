use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::time::timeout;

/// How long a [`Task`] waits for a wake-up, on Tokio's clock, before it is called lost.
pub const PATIENCE: Duration = Duration::from_secs(3600);

/// A future that is polled by hand, or only when it was woken: so a lost wake-up shows.
pub struct Task<F> {
    future: Pin<Box<F>>,
    alarm: Arc<Alarm>,
    polls: usize,
}

#[derive(Default)]
struct Alarm {
    woken: AtomicBool,
    watcher: Mutex<Option<Waker>>,
}

impl<F: Future> Task<F> {
    /// `future`, not polled yet; woken, as a fresh task is.
    pub fn new(future: F) -> Self {
        let alarm = Alarm::default();
        alarm.woken.store(true, Ordering::Relaxed);
        Self {
            future: Box::pin(future),
            alarm: Arc::new(alarm),
            polls: 0,
        }
    }

    /// Polls the future once, woken or not.
    pub fn poll(&mut self) -> Poll<F::Output> {
        self.alarm.woken.store(false, Ordering::Relaxed);
        self.polls += 1;
        let waker = Waker::from(self.alarm.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// How often the future was polled.
    #[must_use]
    pub const fn polls(&self) -> usize {
        self.polls
    }

    /// Whether the future was woken since its last poll.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.alarm.woken.load(Ordering::Relaxed)
    }

    /// Waits for a wake-up. Panics if there is none within [`PATIENCE`].
    pub async fn woken(&self) {
        assert!(
            timeout(PATIENCE, self.wait()).await.is_ok(),
            "a waiting future was never woken"
        );
    }

    /// Polls as long as the future is woken, without letting time pass. Its output, if it got there.
    pub async fn settle(&mut self) -> Poll<F::Output> {
        while self.is_woken() {
            if let Poll::Ready(output) = self.poll() {
                return Poll::Ready(output);
            }
            // A fresh cooperative budget for each poll, and a chance for others.
            tokio::task::yield_now().await;
        }
        Poll::Pending
    }

    /// Polls when woken until there is an output, and lets time pass. Panics if a wake-up is lost.
    pub async fn finish(mut self) -> F::Output {
        loop {
            self.woken().await;
            if let Poll::Ready(output) = self.poll() {
                return output;
            }
        }
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let mut watcher = self
                .alarm
                .watcher
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *watcher = Some(cx.waker().clone());
            if self.is_woken() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl<F> fmt::Debug for Task<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        let watcher = self
            .watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }
}
