use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::time::timeout;

/// How long a [`Task`] waits for a wake-up, on Tokio's clock, before it is called lost.
pub const PATIENCE: Duration = Duration::from_secs(3600);

/// How often a [`Task`] is polled before it is called a spin.
pub const MOST_POLLS: usize = 1000;

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
    line: Mutex<Option<(Line, usize)>>,
}

/// The numbers of the tasks that were woken, in order.
type Line = Arc<Mutex<VecDeque<usize>>>;

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
            timeout(PATIENCE, poll_fn(|cx| self.poll_woken(cx)))
                .await
                .is_ok(),
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

    /// Polls when woken until there is an output, and lets time pass. Panics if a wake-up is lost, and if there are more
    /// than [`MOST_POLLS`].
    pub async fn finish(mut self) -> F::Output {
        loop {
            self.woken().await;
            if let Poll::Ready(output) = self.poll() {
                return output;
            }
            self.assert_not_spinning();
        }
    }

    /// The same for all of `tasks` at once: one after the other, in the order in which they are woken, as an executor does
    /// it. Their outputs, in the order of `tasks`.
    pub async fn finish_all(tasks: &mut [Self]) -> Vec<F::Output> {
        let line: Line = Arc::default();
        let mut outputs: Vec<_> = tasks.iter().map(|_| None).collect();
        for (number, task) in tasks.iter().enumerate() {
            *lock(&task.alarm.line) = Some((line.clone(), number));
            if task.is_woken() {
                lock(&line).push_back(number);
            }
        }
        let mut left = tasks.len();
        while left > 0 {
            let next = lock(&line).pop_front();
            let Some(number) = next else {
                let woken = poll_fn(|cx| {
                    for task in &*tasks {
                        task.alarm.watch(cx);
                    }
                    if lock(&line).is_empty() {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                });
                assert!(
                    timeout(PATIENCE, woken).await.is_ok(),
                    "{left} waiting futures were never woken"
                );
                continue;
            };
            if outputs[number].is_some() {
                continue;
            }
            match tasks[number].poll() {
                Poll::Ready(output) => {
                    outputs[number] = Some(output);
                    left -= 1;
                }
                Poll::Pending => tasks[number].assert_not_spinning(),
            }
            tokio::task::yield_now().await;
        }
        outputs.into_iter().flatten().collect()
    }

    fn assert_not_spinning(&self) {
        let polls = self.polls;
        assert!(polls < MOST_POLLS, "a future that is woken without end");
    }

    fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.watch(cx);
        if self.is_woken() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl<F> fmt::Debug for Task<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}

impl Alarm {
    fn watch(&self, cx: &Context<'_>) {
        // Neither cloned nor dropped under the lock: a waker may run any code.
        let watcher = cx.waker().clone();
        let replaced = lock(&self.watcher).replace(watcher);
        drop(replaced);
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if !self.woken.swap(true, Ordering::Relaxed)
            && let Some((line, number)) = &*lock(&self.line)
        {
            lock(line).push_back(*number);
        }
        let watcher = lock(&self.watcher).take();
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
