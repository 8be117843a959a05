//! Fifty clients of one kind, with a server of their own.

use std::{error::Error, sync::Arc, time::Duration};

use http::Uri;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    calls::{self, CLIENTS, Calls, PATIENCE, RUSH, SECONDS},
    clients::Call,
    server::Server,
};

pub(crate) struct Fleet<C> {
    name: &'static str,
    server: Server,
    clients: Vec<C>,
    calls: Arc<Calls>,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    /// The share of the calls since the rush began that were served in time.
    pub(crate) served_share: f64,
    pub(crate) served: u32,
    /// How many seconds after the rush.
    pub(crate) recovery: Option<usize>,
    pub(crate) requests: u64,
}

/// What the live line shows.
pub(crate) trait Gauges {
    fn name(&self) -> &'static str;
    /// How many requests the server was sent so far.
    fn sent(&self) -> u64;
    /// How many calls were served in time so far.
    fn served(&self) -> u32;
    /// How many requests wait at the server.
    fn queue(&self) -> u64;
    /// How many requests the clients may have in flight together.
    fn limit(&self) -> Option<f64>;
}

impl<C: Call> Fleet<C> {
    /// Starts the server, and makes the clients.
    pub(crate) async fn start(
        name: &'static str,
        client: impl Fn() -> Result<C, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            name,
            server: Server::start().await?,
            clients: (0..CLIENTS).map(|_| client()).collect::<Result<_, _>>()?,
            calls: Arc::default(),
        })
    }

    /// Makes the calls. With the same `seed`, they come at the same times.
    pub(crate) async fn run(&self, seed: u64) {
        let start = Instant::now();
        let mut fleet = JoinSet::new();
        for (client, number) in self.clients.iter().zip(0..) {
            let random = StdRng::seed_from_u64(seed * CLIENTS + number);
            let calls = Arc::clone(&self.calls);
            let uri = self.server.uri().clone();
            fleet.spawn(call_at_random(client.clone(), uri, start, random, calls));
        }
        fleet.join_all().await;
    }

    pub(crate) fn gauges(&self) -> &dyn Gauges {
        self
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            name: self.name,
            served_share: self.calls.served_share(RUSH.start..SECONDS),
            served: self.calls.served(),
            recovery: self.calls.recovery(),
            requests: self.server.gauges().received(),
        }
    }
}

/// Makes one client's calls. None waits for another.
async fn call_at_random(
    client: impl Call,
    uri: Uri,
    start: Instant,
    mut random: StdRng,
    calls: Arc<Calls>,
) {
    let mut pending = JoinSet::new();
    let mut time = 0.0;
    loop {
        let per_second = calls::rate(time as usize) / CLIENTS as f64;
        time += -random.random_range(f64::EPSILON..1.0_f64).ln() / per_second;
        let second = time as usize;
        if second >= SECONDS {
            break;
        }
        sleep_until(start + Duration::from_secs_f64(time)).await;
        calls.add_made(second);
        let (client, uri) = (client.clone(), uri.clone());
        let calls = Arc::clone(&calls);
        pending.spawn(async move {
            let end = Instant::now() + PATIENCE;
            if timeout_at(end, client.call(uri)).await.is_ok_and(|ok| ok) {
                calls.add_served(second);
            }
        });
    }
    pending.join_all().await;
}

impl<C: Call> Gauges for Fleet<C> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sent(&self) -> u64 {
        self.server.gauges().received()
    }

    fn served(&self) -> u32 {
        self.calls.served()
    }

    fn queue(&self) -> u64 {
        self.server.gauges().queue()
    }

    fn limit(&self) -> Option<f64> {
        self.clients.iter().map(Call::limit).sum()
    }
}
