//! A fleet of workers. Each worker stands for a machine: it has its own thread, runtime, store and
//! connections.

use std::{
    collections::HashMap,
    future::poll_fn,
    net::SocketAddr,
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

use courteous_core::{Rate, RejectReason, Rejected};
use courteous_limit::{Ask, Take, TokenStore, Turn};
use courteous_test_servers::{ChaosProxy, Course, Flow, Redis, Sends, Sent, machine_clock};
use courteous_throttle_redis::RedisBucket;
use tokio::{runtime, sync::mpsc, task::JoinSet, time};

/// A condition that a test waits for is true after this time, or never.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// `tokens` per second.
pub(crate) fn rate(tokens: u32, burst: u32) -> Rate {
    Rate::per_second(f64::from(tokens))
        .unwrap()
        .with_burst(NonZeroU32::new(burst).unwrap())
}

/// The quota of a fleet in most tests: 500 per second, burst 50. A lease lasts 50 ms, and a cold
/// start 550 ms.
pub(crate) fn quota() -> Rate {
    rate(500, 50)
}

/// Makes a handle of the Redis at `url`, with its own connection.
pub(crate) fn link(url: &str) -> courteous_throttle_redis::Redis {
    courteous_throttle_redis::Redis::open(url).unwrap()
}

/// A worker's handle of the bucket that all tests use.
pub(crate) fn bucket(url: &str, rate: Rate) -> RedisBucket {
    RedisBucket::new(&link(url), "fleet", rate)
}

/// How a worker behaves.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// How many callers there are. Each makes one call after another.
    pub(crate) callers: usize,
    /// The deadline of each call, from its start.
    pub(crate) patience: Option<Duration>,
    /// The time between a call's end and the next call.
    pub(crate) rest: Duration,
    pub(crate) cost: u32,
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

pub(crate) struct Fleet {
    workers: Vec<Worker>,
    sends: Sends,
    refusals: Refusals,
}

struct Worker {
    errands: mpsc::UnboundedSender<Errand>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Errand = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
struct Refusals(Arc<Mutex<HashMap<RejectReason, usize>>>);

impl Fleet {
    /// Starts `workers` workers, each with the store that `store` makes for it.
    pub(crate) fn start<S>(workers: usize, load: Load, store: impl Fn(usize) -> S) -> Self
    where
        S: TokenStore + Clone + Send + Sync + 'static,
        S::Turn: Send,
    {
        let (sends, refusals) = (Sends::new(), Refusals::default());
        let workers = (0..workers)
            .map(|number| Worker::start(number, load, store(number), &sends, &refusals))
            .collect();
        Self {
            workers,
            sends,
            refusals,
        }
    }

    pub(crate) fn sends(&self) -> &Sends {
        &self.sends
    }

    /// Waits until each worker has sent `count` more calls.
    pub(crate) fn each_sends(&self, count: usize) {
        let since = machine_clock();
        let sent = || self.sends.by_worker(self.workers.len(), since);
        let done = await_that(|| sent().iter().all(|&sent| sent >= count));
        assert!(done, "{:?} in {BOUND:?}, {:?}", sent(), self.refused());
    }

    /// Waits until `count` more calls were refused for `reason`.
    pub(crate) fn refuses(&self, count: usize, reason: RejectReason) {
        let before = self.refused_for(reason);
        let done = await_that(|| self.refused_for(reason) >= before + count);
        assert!(done, "{:?}", self.refused());
    }

    pub(crate) fn refused_for(&self, reason: RejectReason) -> usize {
        self.refused().get(&reason).copied().unwrap_or(0)
    }

    pub(crate) fn refused(&self) -> HashMap<RejectReason, usize> {
        self.refusals.with(|counts| counts.clone())
    }

    /// Makes a worker's only thread stand still.
    pub(crate) fn stall(&self, worker: usize, time: Duration) {
        self.run_on(worker, move || stand_still(time));
    }

    /// Runs `errand` on a worker's thread.
    pub(crate) fn run_on(&self, worker: usize, errand: impl FnOnce() + Send + 'static) {
        let errands = &self.workers[worker].errands;
        assert!(errands.send(Box::new(errand)).is_ok(), "a worker that runs");
    }

    /// Stops all workers, and returns the complete list of calls that were sent.
    pub(crate) fn stop(mut self) -> Sends {
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
    fn start<S>(number: usize, load: Load, store: S, sends: &Sends, refusals: &Refusals) -> Self
    where
        S: TokenStore + Clone + Send + Sync + 'static,
        S::Turn: Send,
    {
        let (errands, mut inbox) = mpsc::unbounded_channel::<Errand>();
        let stopped = Arc::new(AtomicBool::new(false));
        let caller = Caller {
            number,
            load,
            store,
            sends: sends.clone(),
            refusals: refusals.clone(),
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
                        Some(errand) = inbox.recv() => errand(),
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
    refusals: Refusals,
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
                    self.refusals.add(rejected.reason());
                    // A call that is refused at once does not ask again at once.
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
pub(crate) async fn send<S: TokenStore>(store: &S, ask: &Ask) -> Result<(u64, u64), Rejected> {
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

/// Sends one call. A busy machine may be too slow for the first connections.
pub(crate) async fn send_one(bucket: &RedisBucket) {
    let end = time::Instant::now() + BOUND;
    while let Err(rejected) = send_in_time(bucket).await {
        let fault = bucket.last_fault();
        assert_eq!(rejected.reason(), RejectReason::Unavailable, "{fault:?}");
        assert!(time::Instant::now() < end, "{fault:?}");
        time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes calls that are refused, as there is no way to Redis, until the fault contains `text`.
/// Returns the fault. On a busy machine a connection may first be too slow, which is another fault.
pub(crate) async fn fault(bucket: &RedisBucket, text: &str) -> String {
    let end = time::Instant::now() + BOUND;
    loop {
        let rejected = send_in_time(bucket).await.unwrap_err();
        assert_eq!(rejected.reason(), RejectReason::Unavailable);
        let fault = String::from(&*bucket.last_fault().expect("a fault"));
        if fault.contains(text) {
            return fault;
        }
        assert!(time::Instant::now() < end, "{fault}");
        time::sleep(Duration::from_millis(50)).await;
    }
}

async fn send_in_time(bucket: &RedisBucket) -> Result<(u64, u64), Rejected> {
    let ask = Ask::new(NonZeroU32::MIN);
    time::timeout(BOUND, send(bucket, &ask))
        .await
        .expect("an end")
}

impl Refusals {
    fn add(&self, reason: RejectReason) {
        self.with(|counts| *counts.entry(reason).or_default() += 1);
    }

    fn with<T>(&self, see: impl FnOnce(&mut HashMap<RejectReason, usize>) -> T) -> T {
        see(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Checks the condition again and again, until it is true or the bound is over. Returns whether it
/// is true.
pub(crate) fn await_that(is_so: impl Fn() -> bool) -> bool {
    let end = time::Instant::now() + BOUND;
    while time::Instant::now() < end {
        if is_so() {
            return true;
        }
        stand_still(Duration::from_millis(5));
    }
    false
}

#[allow(
    clippy::disallowed_methods,
    reason = "a whole machine stands still, or a test that is none"
)]
pub(crate) fn stand_still(time: Duration) {
    thread::sleep(time);
}

/// A proxy with its own runtime.
pub(crate) struct Line {
    proxy: Option<ChaosProxy>,
    runtime: runtime::Runtime,
    is_hole: Arc<AtomicBool>,
}

impl Line {
    /// Makes a proxy that carries all data, and can become a [black hole](Self::set_hole).
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self::with(server, |_| Course::smooth())
    }

    /// Makes a proxy that treats the nth connection as `course` says.
    pub(crate) fn with(
        server: SocketAddr,
        course: impl Fn(usize) -> Course + Send + Sync + 'static,
    ) -> Self {
        let threads = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = threads.unwrap();
        let is_hole = Arc::new(AtomicBool::new(false));
        let swallows = Arc::clone(&is_hole);
        let script = move |connection| {
            if swallows.load(Relaxed) {
                let hole = Flow::smooth().black_hole_after(0);
                Course::smooth().with_up(hole).with_down(hole)
            } else {
                course(connection)
            }
        };
        let proxy = runtime.block_on(ChaosProxy::start(server, script));
        Self {
            proxy: Some(proxy.unwrap()),
            runtime,
            is_hole,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.proxy().address())
    }

    /// Sets whether *new* connections swallow all data.
    pub(crate) fn set_hole(&self, is_hole: bool) {
        self.is_hole.store(is_hole, Relaxed);
    }

    pub(crate) fn proxy(&self) -> &ChaosProxy {
        self.proxy.as_ref().unwrap()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.proxy.take();
    }
}

/// Returns the calls that were sent from an instant on.
pub(crate) fn since(sends: &Sends, start: u64) -> Sends {
    let later = Sends::new();
    let all = sends.all().into_iter();
    all.filter(|sent| sent.after >= start)
        .for_each(|sent| later.push(sent));
    later
}

/// How many scripts a Redis has run, as it counts them itself.
pub(crate) fn script_calls(redis: &Redis) -> u64 {
    let calls = |command: &str| {
        let stats = redis.info(command).ok()?;
        stats
            .strip_prefix("calls=")?
            .split(',')
            .next()?
            .parse::<u64>()
            .ok()
    };
    let commands = ["cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall"];
    commands.iter().filter_map(|command| calls(command)).sum()
}
