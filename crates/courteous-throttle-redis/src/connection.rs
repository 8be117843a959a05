use std::{sync::Arc, time::Duration};

use courteous_core::Dice;
use rand::RngExt;
use redis::RedisError;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    keys::Keys,
    script::{Call, Reply, SOURCE},
    target::{Open, Target},
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The connection that all buckets of a link use: made when it is needed, and made anew after whatever went wrong, as
/// a node may have become a replica, or its address another node's.
#[derive(Debug)]
pub(crate) struct Connection {
    target: Arc<Target>,
    script: redis::Script,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// Which connection that is.
    generation: u64,
    /// How many have failed in a row, and when to try again.
    failures: u32,
    retry_at: Option<Instant>,
}

/// Redis could not be asked.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) text: Arc<str>,
    pub(crate) retry_at: Instant,
}

impl Connection {
    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            script: redis::Script::new(SOURCE),
            state: Mutex::default(),
        }
    }

    /// Calls the script. Also says when the call was about to be sent.
    pub(crate) async fn call(&self, keys: &Keys, call: &Call) -> Result<(Reply, Instant), Fault> {
        let (mut open, generation) = self.open().await?;
        let before = Instant::now();
        let limit = self.target.response_timeout;
        let clock = self.target.clock();
        let answer = open.call(&self.script, keys, call, &clock);
        let fault = match timeout(limit, answer).await {
            Ok(Ok(values)) => match Reply::read(&values) {
                Some(reply) => {
                    self.state.lock().await.failures = 0;
                    return Ok((reply, before));
                }
                None => "an answer that is not the script's".into(),
            },
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no answer within {limit:?}").into(),
        };
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.open = None;
            state.pause();
        }
        Err(state.fault(fault))
    }

    async fn open(&self) -> Result<(Open, u64), Fault> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok((open.clone(), state.generation));
        }
        if state.retry_at.is_some_and(|at| at > Instant::now()) {
            return Err(state.fault("not connected".into()));
        }
        let limit = self.target.connect_timeout;
        let fault = match timeout(limit, self.target.connect()).await {
            Ok(Ok(open)) => {
                state.generation += 1;
                state.open = Some(open.clone());
                return Ok((open, state.generation));
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("not connected within {limit:?}").into(),
        };
        state.pause();
        Err(state.fault(fault))
    }
}

impl State {
    /// Waits longer after each failure, and no two workers alike.
    fn pause(&mut self) {
        let longest = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(8))
            .min(LONGEST_PAUSE);
        let share = Dice::new().roll(|rng| rng.random_range(0.5..1.0));
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(Instant::now() + longest.mul_f64(share));
    }

    fn fault(&self, text: Arc<str>) -> Fault {
        Fault {
            text,
            retry_at: self.retry_at.unwrap_or_else(Instant::now),
        }
    }
}

fn describe(error: &RedisError) -> Arc<str> {
    error.to_string().into()
}
