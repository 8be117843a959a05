//! A Redis in this process, on the paused clock. The test says what is slow, lost, or wrong.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use redis::RedisError;
use tokio::time::{Instant, sleep};

use crate::{
    Redis, RedisBucket,
    keys::Keys,
    script::{Call, Reply, Seen},
    server::Server,
    tests::model::Model,
    topology::{ServerConnection, Timeouts, Topology},
    worker::Worker,
};

/// When this Redis' clock read 0.
const EPOCH: i64 = 1_790_000_000_000_000;

/// A clone is the same server. A [`cut`](Self::cut) holds for all clones of one [`way`](Self::way).
#[derive(Clone, Debug)]
pub(crate) struct Fake(Arc<Mutex<State>>, Arc<AtomicBool>);

#[derive(Debug)]
pub(crate) struct State {
    schedules: HashMap<String, Model>,
    /// A copy of the schedules at some earlier time.
    kept: HashMap<String, Model>,
    began: Instant,
    rng: SmallRng,
    pub(crate) run: i64,
    /// How far the clock is ahead, in microseconds.
    pub(crate) offset: i64,
    /// The longest delay of each way, and how many answers of a hundred get lost.
    pub(crate) delay: Duration,
    pub(crate) lost: u32,
    /// The extra delay of the next answer.
    pub(crate) once: Duration,
    /// Whether this Redis refuses calls (`away`), or does not answer (`hung`).
    pub(crate) away: bool,
    pub(crate) hung: bool,
    pub(crate) calls: Vec<Call>,
}

impl Fake {
    pub(crate) fn new(seed: u64) -> Self {
        let state = Arc::new(Mutex::new(State {
            schedules: HashMap::new(),
            kept: HashMap::new(),
            began: Instant::now(),
            rng: SmallRng::seed_from_u64(seed),
            run: 1,
            offset: 0,
            delay: Duration::ZERO,
            lost: 0,
            once: Duration::ZERO,
            away: false,
            hung: false,
            calls: Vec::new(),
        }));
        Self(state, Arc::default())
    }

    /// Returns another way to the same server.
    pub(crate) fn way(&self) -> Self {
        Self(Arc::clone(&self.0), Arc::default())
    }

    /// Sets whether this way is cut off.
    pub(crate) fn cut(&self, cut: bool) {
        self.1.store(cut, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Opens a worker.
    pub(crate) fn open(&self) -> Redis {
        let server = Server::new(self.clone());
        Redis {
            worker: Arc::new(Worker::new(server)),
        }
    }

    pub(crate) fn flush(&self) {
        self.state().schedules.clear();
    }

    /// Makes a copy of all schedules.
    pub(crate) fn keep(&self) {
        let mut state = self.state();
        state.kept = state.schedules.clone();
    }

    /// Brings the copy back, if all of `buckets` have seen later schedules.
    pub(crate) fn restore(&self, buckets: &[RedisBucket]) {
        let mut state = self.state();
        let kept = state.kept.values().filter_map(Model::seen);
        let is_known = |kept: Seen| buckets.iter().all(|bucket| bucket.seen().is_after(kept));
        if kept.into_iter().all(is_known) {
            state.schedules = state.kept.clone();
        }
    }

    pub(crate) fn restart(&self) {
        self.state().run += 1;
    }

    async fn answer(&self, keys: &Keys, call: &Call) -> Result<Vec<i64>, RedisError> {
        let refused = || Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        let way = self.delay();
        sleep(way).await;
        if self.state().hung {
            std::future::pending::<()>().await;
        }
        if self.state().away || self.1.load(Ordering::Relaxed) {
            return refused();
        }
        let reply = self.state().answer(keys, call);
        let lost = {
            let mut state = self.state();
            let lost = state.lost;
            state.rng.random_range(0..100) < lost
        };
        if lost {
            std::future::pending::<()>().await;
        }
        let way = self.delay() + std::mem::take(&mut self.state().once);
        sleep(way).await;
        Ok(values(&reply))
    }

    fn delay(&self) -> Duration {
        let mut state = self.state();
        let delay = state.delay;
        // Sometimes a packet gets lost, and is sent again.
        if state.rng.random_range(0..50) == 0 {
            delay * 10
        } else {
            delay.mul_f64(state.rng.random())
        }
    }
}

impl Topology for Fake {
    fn address(&self) -> String {
        "fake".to_owned()
    }

    fn connect(&self, _: Timeouts) -> BoxFuture<'_, Result<Arc<dyn ServerConnection>, RedisError>> {
        let connection: Arc<dyn ServerConnection> = Arc::new(self.clone());
        Box::pin(async { Ok(connection) })
    }

    #[cfg(feature = "tls")]
    fn secured(&self, _: &redis::TlsCertificates) -> Option<Arc<dyn Topology>> {
        None
    }
}

impl ServerConnection for Fake {
    fn is_cluster(&self) -> bool {
        false
    }

    fn call<'a>(
        &self,
        keys: &'a Keys,
        call: &'a Call,
    ) -> BoxFuture<'a, Result<Vec<i64>, RedisError>> {
        let fake = self.clone();
        Box::pin(async move { fake.answer(keys, call).await })
    }
}

impl RedisBucket {
    /// Whether this worker knows the clock of Redis in its current run.
    pub(crate) fn has_seen(&self, run: i64) -> bool {
        self.shared.with(|state| state.calls.has_seen(run))
    }

    /// The latest schedule that this worker has seen.
    pub(crate) fn seen(&self) -> Seen {
        self.shared.with(|state| state.calls.seen())
    }
}

impl State {
    fn answer(&mut self, keys: &Keys, call: &Call) -> Reply {
        self.calls.push(*call);
        let now = EPOCH + self.offset + i64::try_from(self.began.elapsed().as_micros()).unwrap();
        let schedule = self.schedules.entry(keys.names()[0].clone()).or_default();
        schedule.run(call, self.run, now)
    }
}

fn values(reply: &Reply) -> Vec<i64> {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap();
    vec![
        reply.granted.into(),
        reply.first,
        reply.ends,
        nanos(reply.wait),
        reply.workers.into(),
        reply.rates.into(),
        i64::try_from(reply.terms.interval()).unwrap(),
        reply.terms.burst().into(),
        nanos(reply.closed_for),
        reply.now,
        reply.skew,
        reply.run,
        reply.cold.into(),
        reply.born,
    ]
}
