//! A fleet of workers. Each worker stands for a machine: it has its own thread, runtime, store and
//! connections.

use std::{
    collections::HashMap,
    future::poll_fn,
    num::NonZeroU32,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::ready,
    thread::{self, JoinHandle},
    time::Duration,
};

use courteous_core::{RejectReason, Rejected};
use courteous_limit::{Ask, Take, TokenStore, Turn};
use tokio::{runtime, sync::mpsc, task::JoinSet, time};

use crate::sends::{Sends, Sent, machine_clock};

/// A condition that a test waits for is true after this time, or never.
pub const BOUND: Duration = Duration::from_secs(60);

/// How a worker behaves.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many callers there are. Each makes one call after another.
    pub callers: usize,
    /// The deadline of each call, from its start.
    pub patience: Option<Duration>,
    /// The time between a call's end and the next call.
    pub rest: Duration,
    /// What each call costs.
    pub cost: u32,
}

impl Default for Load {
    /// Makes as many calls as the store lets through.
    fn default() -> Self {
        Self {
            callers: 20,
            patience: None,
            rest: Duration::ZERO,
            cost: 1,
        }
    }
}

/// Workers that draw on stores of tokens as fast as those allow, and the list of what they sent.
#[derive(Debug)]
pub struct Fleet {
    workers: Vec<Worker>,
    sends: Sends,
    rejections: Rejections,
}

#[derive(Debug)]
struct Worker {
    errands: mpsc::UnboundedSender<Errand>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Errand = Box<dyn FnOnce() + Send>;

#[derive(Clone, Debug, Default)]
struct Rejections(Arc<Mutex<HashMap<RejectReason, usize>>>);

impl Fleet {
    /// Starts `workers` workers, each with the store that `store` makes for it.
    pub fn start<S>(workers: usize, load: Load, store: impl Fn(usize) -> S) -> Self
    where
        S: TokenStore + Clone + Send + Sync + 'static,
        S::Turn: Send,
    {
        let (sends, rejections) = (Sends::new(), Rejections::default());
        let workers = (0..workers)
            .map(|number| Worker::start(number, load, store(number), &sends, &rejections))
            .collect();
        Self {
            workers,
            sends,
            rejections,
        }
    }

    /// What the workers have sent so far.
    #[must_use]
    pub const fn sends(&self) -> &Sends {
        &self.sends
    }

    /// Waits until each worker has sent `count` more calls.
    pub fn each_sends(&self, count: usize) {
        let since = machine_clock();
        let sent = || self.sends.by_worker(self.workers.len(), since);
        let done = await_that(|| sent().iter().all(|&sent| sent >= count));
        assert!(done, "{:?} in {BOUND:?}, {:?}", sent(), self.rejected());
    }

    /// Waits until `count` more calls were rejected for `reason`.
    pub fn rejects(&self, count: usize, reason: RejectReason) {
        let before = self.rejected_for(reason);
        let done = await_that(|| self.rejected_for(reason) >= before + count);
        assert!(done, "{:?}", self.rejected());
    }

    /// How many calls were rejected for `reason` so far.
    #[must_use]
    pub fn rejected_for(&self, reason: RejectReason) -> usize {
        self.rejected().get(&reason).copied().unwrap_or(0)
    }

    /// How many calls were rejected so far, for each reason.
    #[must_use]
    pub fn rejected(&self) -> HashMap<RejectReason, usize> {
        self.rejections.with(|counts| counts.clone())
    }

    /// Makes a worker's only thread stand still.
    pub fn stall(&self, worker: usize, time: Duration) {
        self.run_on(worker, move || stand_still(time));
    }

    /// Runs `errand` on a worker's thread.
    pub fn run_on(&self, worker: usize, errand: impl FnOnce() + Send + 'static) {
        let errands = &self.workers[worker].errands;
        assert!(errands.send(Box::new(errand)).is_ok(), "a worker that runs");
    }

    /// Stops all workers, and returns the complete list of calls that were sent.
    #[must_use]
    pub fn stop(mut self) -> Sends {
        for worker in &self.workers {
            worker.stopped.store(true, Relaxed);
        }
        for worker in &mut self.workers {
            worker.end();
        }
        self.sends.clone()
    }
}

impl Worker {
    fn start<S>(number: usize, load: Load, store: S, sends: &Sends, rejections: &Rejections) -> Self
    where
        S: TokenStore + Clone + Send + Sync + 'static,
        S::Turn: Send,
    {
        let (errands, mut received) = mpsc::unbounded_channel::<Errand>();
        let stopped = Arc::new(AtomicBool::new(false));
        let caller = Caller {
            number,
            load,
            store,
            sends: sends.clone(),
            rejections: rejections.clone(),
        };
        let is_stopped = Arc::clone(&stopped);
        let work = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let mut callers = JoinSet::new();
                for _ in 0..load.callers {
                    callers.spawn(caller.clone().call_for_ever());
                }
                let mut tick = time::interval(Duration::from_millis(5));
                while !is_stopped.load(Relaxed) {
                    tokio::select! {
                        Some(errand) = received.recv() => errand(),
                        _ = tick.tick() => {}
                    }
                }
            });
        };
        let thread = thread::Builder::new().name(format!("worker {number}"));
        Self {
            errands,
            stopped,
            thread: Some(thread.spawn(work).unwrap()),
        }
    }

    fn end(&mut self) {
        self.stopped.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "a worker that does not panic");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The thread is not joined, as the test may be panicking.
        self.stopped.store(true, Relaxed);
    }
}

#[derive(Clone)]
struct Caller<S> {
    number: usize,
    load: Load,
    store: S,
    sends: Sends,
    rejections: Rejections,
}

impl<S: TokenStore> Caller<S> {
    async fn call_for_ever(self) {
        loop {
            let mut ask = Ask::new(NonZeroU32::new(self.load.cost).unwrap());
            if let Some(patience) = self.load.patience {
                ask = ask.with_latest(time::Instant::now() + patience, RejectReason::Deadline);
            }
            match send(&self.store, &ask).await {
                Ok((after, by)) => self.sends.push(Sent {
                    worker: self.number,
                    after,
                    by,
                }),
                Err(rejected) => {
                    self.rejections.add(rejected.reason());
                    // A call that is rejected at once does not ask again at once.
                    time::sleep(Duration::from_millis(10)).await;
                }
            }
            if self.load.rest.is_zero() {
                tokio::task::yield_now().await;
            } else {
                time::sleep(self.load.rest).await;
            }
        }
    }
}

/// Does what a throttle does with its store before it sends. Returns an instant before the decision
/// to send, and an instant after it.
///
/// # Errors
///
/// If the store rejects the call.
pub async fn send<S: TokenStore>(store: &S, ask: &Ask) -> Result<(u64, u64), Rejected> {
    let after = machine_clock();
    let mut turn = match store.take(ask) {
        Take::Taken => return Ok((after, machine_clock())),
        Take::Rejected(rejected) => return Err(rejected),
        Take::Wait(turn) => pin!(turn),
    };
    poll_fn(|cx| {
        loop {
            let after = machine_clock();
            ready!(turn.as_mut().poll(cx))?;
            if turn.as_mut().spend() {
                return Ok((after, machine_clock())).into();
            }
        }
    })
    .await
}

impl Rejections {
    fn add(&self, reason: RejectReason) {
        self.with(|counts| *counts.entry(reason).or_default() += 1);
    }

    fn with<T>(&self, see: impl FnOnce(&mut HashMap<RejectReason, usize>) -> T) -> T {
        see(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Checks the condition again and again, until it is true or the bound is over. Returns whether it
/// is true.
pub fn await_that(is_so: impl Fn() -> bool) -> bool {
    let end = time::Instant::now() + BOUND;
    while time::Instant::now() < end {
        if is_so() {
            return true;
        }
        stand_still(Duration::from_millis(5));
    }
    false
}

/// Stops this thread for `time`.
#[allow(
    clippy::disallowed_methods,
    reason = "a whole machine stands still, or a test that is none"
)]
pub fn stand_still(time: Duration) {
    thread::sleep(time);
}
