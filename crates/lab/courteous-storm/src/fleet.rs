use std::{cell::Cell, pin::Pin, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    runtime::Builder,
    task::{LocalSet, spawn_local},
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::ServiceExt;
use tower_service::Service;

use crate::{
    Requirements, Tick, Transport,
    arrivals::arrivals,
    chance::{Chance, Stream},
    log::Log,
    rivals,
    scenario::{Load, Scenario},
    transport::CallTag,
    world::{Forward, Shared},
};

/// A client's stack, whatever its type: it makes a call, and returns whether the call succeeded.
type Client = Rc<dyn Fn(Request<Full<Bytes>>) -> Pin<Box<dyn Future<Output = bool>>>>;

/// How long after the last arrival a call may continue: a call without a timeout must not keep a
/// run from ending.
const PATIENCE: Tick = 60_000;

/// Runs `scenario` with a `stack` for each client, and returns what happened.
pub(crate) fn run<F, S, RB>(scenario: &Scenario, stack: F) -> std::io::Result<Log>
where
    F: Fn(Transport, &Requirements) -> S,
    S: Service<Request<Full<Bytes>>, Response = Response<RB>> + Clone + 'static,
{
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let local = LocalSet::new();
    let log = local.block_on(&runtime, async {
        let world = Shared::new(scenario);
        let required = Requirements::new(scenario);
        let mut seeds = Chance::new(scenario.seed, Stream::Clients);
        let mut client = |tier, required: Requirements| {
            let transport = Transport::new(world.clone(), tier);
            erase(stack(transport, &required.for_client(seeds.seed())))
        };
        let naive = |n: usize| {
            let transport = Transport::new(world.clone(), 0);
            erase(rivals::naive(transport, &required.for_client(n as u64)))
        };
        // Every tenth client, or two of ten.
        let is_naive = |n: usize| (n % 10) as f64 + 0.5 < 10.0 * scenario.naive;
        // A client that restarts continues as another process, which has not made any call yet.
        let generations = 1 + usize::from(scenario.restart.is_some());
        let processes = (0..generations * scenario.clients).map(|n| match is_naive(n) {
            true => naive(n),
            false => client(0, required.clone()),
        });
        let processes: Rc<[_]> = processes.collect();
        let hops = (1..).zip(&scenario.tiers[..scenario.tiers.len() - 1]);
        let hops = hops.map(|(to, tier)| {
            (0..tier.replicas)
                .map(|_| client(to, required.clone().for_hop(scenario)))
                .collect()
        });
        let hops: Vec<Vec<Client>> = hops.collect();
        spawn_local(pump(world.clone(), hops));
        let fleet = Fleet {
            world: world.clone(),
            processes,
            clients: scenario.clients,
            restart: scenario.restart,
            pending: Rc::default(),
        };
        match scenario.load {
            Load::Open { .. } | Load::Burst { .. } => fleet.open(arrivals(scenario)).await,
            Load::Batch {
                parallel,
                jobs,
                cap,
            } => fleet.batch(parallel, jobs, cap).await,
        }
        // The rest has no waiter: work of the servers, and promises and leases that lapse.
        let mut left = PATIENCE / 100;
        while !world.lock().is_quiet() && left > 0 {
            sleep(Duration::from_millis(100)).await;
            left -= 1;
        }
        sleep(Duration::from_secs(10)).await;
        let mut log = std::mem::take(&mut world.lock().log);
        log.leaked = required.audit();
        log
    });
    Ok(log)
}

fn erase<S, RB>(stack: S) -> Client
where
    S: Service<Request<Full<Bytes>>, Response = Response<RB>> + Clone + 'static,
{
    Rc::new(move |request| {
        let call = stack.clone().oneshot(request);
        Box::pin(async {
            call.await
                .is_ok_and(|response| response.status().is_success())
        })
    })
}

fn request(tag: Option<CallTag>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("http://server.test/orders");
    if let Some(tag) = tag {
        request.extensions_mut().insert(tag);
    }
    request
}

/// Moves the world. Each replica of a tier calls the next tier with its own stack, in `hops`.
async fn pump(world: Shared, hops: Vec<Vec<Client>>) {
    let passing = world.clone();
    let forward = move |forward: Forward| {
        let hop = &hops[forward.to - 1][forward.attempt.replica()];
        let (call, world) = (hop(request(None)), passing.clone());
        spawn_local(async move {
            let well = call.await;
            world.lock().answer_forward(forward, well);
        });
    };
    world.pump(forward).await;
}

#[derive(Clone)]
struct Fleet {
    world: Shared,
    /// One process for each client, followed by the processes that the clients become after their
    /// restart.
    processes: Rc<[Client]>,
    clients: usize,
    restart: Option<Tick>,
    pending: Rc<Cell<usize>>,
}

impl Fleet {
    /// Makes the calls when they arrive.
    async fn open(&self, arrivals: Vec<(Tick, usize)>) {
        let start = Instant::now();
        for (at, client) in arrivals {
            sleep_until(start + Duration::from_millis(at)).await;
            self.pending.set(self.pending.get() + 1);
            let (call, pending) = (self.call(client), Rc::clone(&self.pending));
            spawn_local(async move {
                call.await;
                pending.set(pending.get() - 1);
            });
        }
        self.rest(PATIENCE).await;
    }

    /// Each client does its jobs, `parallel` at a time, one after another.
    async fn batch(&self, parallel: usize, jobs: usize, cap: Tick) {
        for client in 0..self.clients {
            let left = Rc::new(Cell::new(jobs));
            for _ in 0..parallel.min(jobs) {
                let fleet = self.clone();
                let left = Rc::clone(&left);
                self.pending.set(self.pending.get() + 1);
                spawn_local(async move {
                    while left.get() > 0 {
                        left.set(left.get() - 1);
                        fleet.call(client).await;
                    }
                    fleet.pending.set(fleet.pending.get() - 1);
                });
            }
        }
        self.rest(cap).await;
    }

    /// Waits until no call is pending.
    async fn rest(&self, longest: Tick) {
        let mut left = longest;
        while self.pending.get() > 0 && left > 0 {
            let step = left.min(100);
            sleep(Duration::from_millis(step)).await;
            left -= step;
        }
    }

    fn call(&self, client: usize) -> impl Future<Output = ()> + use<> {
        let world = self.world.clone();
        let (call, now) = {
            let mut world = world.lock();
            let now = world.now();
            (world.log.start(client, now), now)
        };
        let (process, lives) = match self.restart {
            Some(restart) if now < restart => (client, restart - now),
            Some(_) => (client + self.clients, Tick::MAX),
            None => (client, Tick::MAX),
        };
        let made = (self.processes[process])(request(Some(CallTag(call))));
        // A call ends with its process.
        let made = timeout(Duration::from_millis(lives), made);
        async move {
            let well = made.await.unwrap_or(false);
            let mut world = world.lock();
            let now = world.now();
            world.log.end(call, now, well);
        }
    }
}

#[cfg(test)]
mod tests {
    use tower::timeout::Timeout;

    use super::*;

    /// One attempt, and its timeout.
    fn bare(transport: Transport, required: &Requirements) -> Timeout<Transport> {
        Timeout::new(transport, required.attempt_timeout())
    }

    fn log(scenario: &Scenario) -> Log {
        run(scenario, bare).unwrap()
    }

    #[test]
    fn a_server_at_70_percent_serves_all_and_is_busy_for_70_percent_of_the_time() {
        let log = log(&Scenario::calm(700.0));
        let well = log
            .calls
            .iter()
            .filter(|call| call.end.is_some_and(|(_, well)| well));
        assert!(well.count() as f64 / log.calls.len() as f64 > 0.9995);
        let busy = log.work as f64 / (50.0 * 100_000.0);
        assert!((busy - 0.7).abs() < 0.01, "{busy}");
        assert!(log.useful as f64 / log.work as f64 > 0.999);
    }

    #[test]
    fn a_server_at_130_percent_serves_next_to_none_as_all_it_does_is_late() {
        let log = log(&Scenario::calm(1300.0));
        let late = |call: &&crate::log::Call| call.start > 50_000;
        let calls = || log.calls.iter().filter(late);
        let well = calls().filter(|call| call.end.is_some_and(|(_, well)| well));
        assert_eq!(well.count(), 0);
        assert!(calls().all(|call| matches!(call.end, Some((end, _)) if end == call.start + 500)));
    }

    #[test]
    fn a_client_that_restarts_is_another_process_and_its_calls_in_flight_end() {
        let mut scenario = Scenario::calm(100.0).with_clients(2);
        scenario.restart = Some(50_000);
        let silent = crate::scenario::Tier::new()
            .with_fault(49_000..51_000, crate::scenario::FaultKind::BlackHole);
        scenario.tiers = vec![silent];
        let processes = Cell::new(0);
        let calls: Rc<std::cell::RefCell<Vec<(usize, Duration)>>> = Rc::default();
        let log = run(&scenario, |transport, required| {
            let process = processes.replace(processes.get() + 1);
            let (calls, start) = (Rc::clone(&calls), Instant::now());
            bare(transport, required).map_request(move |request: Request<Full<Bytes>>| {
                calls.borrow_mut().push((process, start.elapsed()));
                request
            })
        });
        let log = log.unwrap();
        assert_eq!(processes.get(), 4);
        let restart = Duration::from_millis(50_000);
        let calls = calls.borrow();
        assert!(
            calls
                .iter()
                .all(|(process, at)| (*process < 2) == (*at < restart))
        );
        assert!((0..4).all(|process| calls.iter().any(|call| call.0 == process)));
        let in_flight = |call: &&crate::log::Call| (49_501..50_000).contains(&call.start);
        let mut in_flight = log.calls.iter().filter(in_flight).peekable();
        assert!(in_flight.peek().is_some());
        assert!(in_flight.all(|call| call.end == Some((50_000, false))));
        assert!(
            log.calls
                .iter()
                .all(|call| call.client < 2 && call.end.is_some())
        );
    }

    #[test]
    fn calls_and_attempts_are_neither_lost_nor_made_up() {
        for scenario in crate::catalogue() {
            if scenario.naive > 0.0 || scenario.id() == "S12-lasting" {
                continue;
            }
            let scenario = scenario.with_seed(3);
            let Load::Open { end, .. } = scenario.load else {
                continue;
            };
            let log = log(&scenario);
            assert_eq!(log.calls.len(), arrivals(&scenario).len());
            assert!(
                log.calls
                    .iter()
                    .all(|call| call.end.is_some() && call.attempts == 1)
            );
            assert!(log.calls.iter().all(|call| call.start < end));
            assert!(log.useful <= log.work && log.spacings.is_empty());
            if scenario.tiers.len() == 1 {
                let sent: u32 = log.attempts.iter().sum();
                assert_eq!(sent as usize, log.calls.len());
            }
        }
    }
}
