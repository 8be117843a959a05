use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use courteous_core::{Dice, random_bytes};
use redis::RedisError;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    call_failure::CallFailure,
    keys::Keys,
    script::{Call, Reply},
    server::Server,
    topology::ServerConnection,
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long no node of a cluster may answer before the connection is replaced. A connection to a
/// cluster leads to many nodes, and repairs itself.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(2);

/// The connection that all buckets of a worker use. It is made when it is needed, and replaced
/// after any fault: a node may have become a replica, or its address may now belong to another
/// node.
#[derive(Debug)]
pub(crate) struct Connection {
    server: Arc<Server>,
    worker: OnceLock<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Arc<dyn ServerConnection>>,
    /// The number of the connection.
    generation: u64,
    /// When it answered last, or was made, and whether it ever answered.
    answered: Option<Instant>,
    proven: bool,
    /// How many calls have failed in a row, and when to connect again.
    failures: u32,
    retry_at: Option<Instant>,
}

/// Whether a failed call shows a fault of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Connection,
    /// The connection may still answer the next call, for another bucket.
    Call,
}

impl Connection {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            worker: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    /// Returns the id by which Redis knows the calling worker. Each runtime and each process has
    /// its own `Connection`, and so its own id. Two workers with one id would share one worker's
    /// part of the rate.
    pub(crate) fn worker(&self) -> Result<u64, CallFailure> {
        if let Some(worker) = self.worker.get() {
            return Ok(*worker);
        }
        let drawn = random_bytes().map_err(|error| CallFailure {
            text: error.to_string().into(),
            retry_at: Instant::now() + LONGEST_PAUSE,
        })?;
        Ok(*self.worker.get_or_init(|| u64::from_ne_bytes(drawn)))
    }

    /// Calls the script. Also returns when the call was about to be sent.
    pub(crate) async fn call(
        &self,
        keys: &Keys,
        call: &Call,
    ) -> Result<(Reply, Instant), CallFailure> {
        match self.attempt(keys, call, true).await? {
            Some(answer) => Ok(answer),
            // If the script ran all the same, only slots are lost.
            None => {
                let answer = self.attempt(keys, call, false).await?;
                answer.ok_or_else(|| CallFailure {
                    text: "not connected".into(),
                    retry_at: Instant::now(),
                })
            }
        }
    }

    /// Returns `None` if a connection that had answered before was closed, as servers and proxies
    /// do with idle connections. Only a `first` attempt returns `None`.
    async fn attempt(
        &self,
        keys: &Keys,
        call: &Call,
        first: bool,
    ) -> Result<Option<(Reply, Instant)>, CallFailure> {
        let (open, generation, proven) = self.open().await?;
        let before = Instant::now();
        let limit = self.server.timeouts().response;
        let answer = timeout(limit, open.call(keys, call)).await;
        let mut state = self.state.lock().await;
        let (text, blame) = match answer {
            Ok(Ok(values)) => match Reply::read(&values) {
                Some(reply) => {
                    if state.generation == generation {
                        state.failures = 0;
                        state.answered = Some(Instant::now());
                        state.proven = true;
                    }
                    return Ok(Some((reply, before)));
                }
                None => ("an answer that is not the script's".into(), Blame::Call),
            },
            Ok(Err(error)) => {
                let closed = error.is_io_error() && !error.is_timeout();
                if first && proven && closed && !open.is_cluster() {
                    if state.generation == generation {
                        state.open = None;
                    }
                    return Ok(None);
                }
                (describe(&error), blame(&error))
            }
            Err(_) => (
                format!("no answer within {limit:?}").into(),
                Blame::Connection,
            ),
        };
        let retry_at = state.pause();
        let silent = state
            .answered
            .is_none_or(|at| at.elapsed() >= CLUSTER_PATIENCE);
        if state.generation == generation
            && blame == Blame::Connection
            && (silent || !open.is_cluster())
        {
            state.open = None;
            state.retry_at = Some(retry_at);
        }
        Err(CallFailure { text, retry_at })
    }

    /// Returns a connection, its number, and whether it ever answered.
    async fn open(&self) -> Result<(Arc<dyn ServerConnection>, u64, bool), CallFailure> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok((Arc::clone(open), state.generation, state.proven));
        }
        if let Some(retry_at) = state.retry_at.filter(|&at| at > Instant::now()) {
            let text = "not connected".into();
            return Err(CallFailure { text, retry_at });
        }
        let limit = self.server.timeouts().connect;
        let text = match timeout(limit, self.server.connect()).await {
            Ok(Ok(open)) => {
                state.generation += 1;
                state.answered = Some(Instant::now());
                state.proven = false;
                state.open = Some(Arc::clone(&open));
                return Ok((open, state.generation, false));
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("not connected within {limit:?}").into(),
        };
        let retry_at = state.pause();
        state.retry_at = Some(retry_at);
        Err(CallFailure { text, retry_at })
    }
}

impl State {
    /// Returns when to try again. The pause grows with each failure, and is random, so that workers
    /// do not try at the same time.
    fn pause(&mut self) -> Instant {
        let longest = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(8))
            .min(LONGEST_PAUSE);
        let share = 0.5 + Dice::new().fraction() / 2.0;
        self.failures = self.failures.saturating_add(1);
        Instant::now() + longest.mul_f64(share)
    }
}

/// If a server complains about one key, or about its own memory, a new connection does not help.
fn blame(error: &RedisError) -> Blame {
    match error.code() {
        Some("ERR" | "NOPERM" | "OOM" | "WRONGTYPE") => Blame::Call,
        _ => Blame::Connection,
    }
}

fn describe(error: &RedisError) -> Arc<str> {
    error.to_string().into()
}
