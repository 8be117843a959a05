//! No customer is charged twice. Keyed POSTs go over HTTP/1.1 and HTTP/2, through a network that
//! breaks, to a server that fails. The tasks that send them are killed at random points.
//!
//! A killed call is submitted again with the same key, as the key follows from the order's number.
//! Every other call ends with a charge or with an error. When the storm is over, the failed calls
//! are submitted again until each order was charged: exactly once.
//!
//! By default there are 2,000 calls in 3 seconds of faults. `COURTEOUS_CHAOS_CALLS` sets another
//! number of calls; the time grows with it.
//!
//! ```text
//! COURTEOUS_CHAOS_CALLS=20000 cargo test --test chaos_ledger -- --nocapture      # 30 s of faults
//! ```
//!
//! One such run, on two cores, unoptimized: 20,000 calls in 31.3 s, over 2,107 connections of
//! HTTP/1.1 and 348 of HTTP/2. 5,399 tasks were killed, and 4,324 calls ended with an error. 23,037
//! requests reached the server; 4,553 of them had been charged before, and were not charged again.
//! At most 22 MB of memory were resident. At the end there were 784 bytes more on the heap than at
//! the start, no task and no socket.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod ledger;

use std::{
    alloc::System,
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use courteous::{
    Courteous, ServiceBuilder, Stack,
    core::RequestView,
    idempotency::{IdempotencyKey, IdempotencyKeyLayer, Key},
    retry::{Backoff, Budget, RetryLayer},
};
use courteous_test_servers::{ChaosProxy, Course, Flow};
use courteous_testkit::Chance;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{
    runtime::Handle,
    task::{JoinSet, yield_now},
    time::{Instant, sleep, sleep_until},
};
use tower::ServiceExt;

use crate::ledger::Shop;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: u64 = 2_000;
const PACE: Duration = Duration::from_micros(1_500);
/// The most calls at a time.
const AT_ONCE: usize = 512;
const SEED: u64 = 0x1ed9e4;
/// Connections break within this many bytes, which is about a dozen calls.
const MOST_BYTES: [u64; 2] = [3_000, 1_000];

/// An order's number, among its request's extensions.
#[derive(Clone, Copy)]
struct Order(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Answered by a 200.
    Charged,
    /// Answered by an error, or not at all.
    Failed,
}

/// The whole stack around hyper-util's client.
type Payments = IdempotencyKey<Courteous<Client<HttpConnector, Full<Bytes>>>, KeyOf>;
type KeyOf = fn(RequestView<'_>) -> Option<Key>;

/// The key survives a crash of the task, as it is not random.
fn key_of(request: RequestView<'_>) -> Option<Key> {
    let Order(number) = request.extensions().get()?;
    Key::new(&format!("order-{number}")).ok()
}

fn client(http2: bool) -> Payments {
    let leaf = Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(Duration::from_millis(100))
        .http2_keep_alive_timeout(Duration::from_millis(200))
        .build_http();
    // As many retries as possible: each is a chance to charge twice.
    let retry = RetryLayer::new()
        .with_budget(Budget::unlimited())
        .with_backoff(Backoff::constant(Duration::from_millis(20)));
    let stack = Stack::new()
        .with_total_timeout(Duration::from_secs(2))
        .with_attempt_timeout(Duration::from_millis(500))
        .with_retry(retry);
    ServiceBuilder::new()
        .layer(IdempotencyKeyLayer::new().with_generator(key_of as KeyOf))
        .layer(stack.build().unwrap())
        .service(leaf)
}

async fn charge(client: Payments, uri: String, order: u64) -> End {
    let body = Full::from(order.to_string());
    let request = Request::post(uri).extension(Order(order)).body(body);
    match client.oneshot(request.unwrap()).await {
        Ok(response) if response.status() == 200 => {
            // The response's head has already told that the order was charged, whatever happens to
            // the body.
            let _ = response.into_body().collect().await;
            End::Charged
        }
        _ => End::Failed,
    }
}

/// Makes the call in its own task. Some of these tasks are killed, and then the call is submitted
/// again.
async fn submit(client: Payments, uri: String, order: u64, kills: Arc<AtomicUsize>) -> End {
    let mut chance = Chance::new(SEED ^ Chance::new(order).bits());
    loop {
        let call = tokio::spawn(charge(client.clone(), uri.clone(), order));
        if chance.one_in(3) {
            match chance.below(10) {
                0 => {}
                1 => yield_now().await,
                2..6 => sleep(chance.time(Duration::from_millis(8))).await,
                _ => sleep(chance.time(Duration::from_millis(600))).await,
            }
            call.abort();
        }
        match call.await {
            Ok(end) => return end,
            Err(killed) => assert!(killed.is_cancelled(), "{killed}"),
        }
        kills.fetch_add(1, SeqCst);
    }
}

/// A proxy to the shop. While the storm lasts, all its connections break sooner or later.
async fn weather(shop: &Shop, which: usize, storm: &Arc<AtomicBool>) -> ChaosProxy {
    let storm = Arc::clone(storm);
    let most = MOST_BYTES[which];
    let random = Course::seeded(SEED + which as u64, most);
    let script = move |connection| match random(connection) {
        _ if !storm.load(SeqCst) => Course::smooth(),
        course if course == Course::smooth() => {
            course.with_down(Flow::smooth().reset_after(4 * most))
        }
        course => course,
    };
    ChaosProxy::start(shop.address, script).await.unwrap()
}

fn calls() -> u64 {
    let calls = env::var("COURTEOUS_CHAOS_CALLS").ok();
    calls.map_or(CALLS, |calls| calls.parse().unwrap())
}

/// Bytes on the heap.
fn live() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Bytes of resident memory, from pages of 4 KiB.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).unwrap_or("0");
    pages.parse::<usize>().unwrap() * 4096
}

fn files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_charged_twice_and_nothing_is_left() {
    let calls = calls();
    let mut ends = vec![End::Failed; usize::try_from(calls).unwrap()];
    let (files_before, live_before) = (files(), live());

    let shop = Shop::open(SEED).await.unwrap();
    let storm = Arc::new(AtomicBool::new(true));
    let proxies = [
        weather(&shop, 0, &storm).await,
        weather(&shop, 1, &storm).await,
    ];
    let uris = [proxies[0].uri("/charges"), proxies[1].uri("/charges")];
    let clients = [client(false), client(true)];
    let kills = Arc::new(AtomicUsize::new(0));

    let start = Instant::now();
    let mut running = JoinSet::new();
    let mut samples = Vec::with_capacity(4);
    let mut note = |ended: Option<Result<(u64, End), _>>| {
        let (order, end) = ended.unwrap().unwrap();
        ends[usize::try_from(order).unwrap()] = end;
    };
    for order in 0..calls {
        sleep_until(start + PACE * u32::try_from(order).unwrap()).await;
        while running.len() >= AT_ONCE {
            note(running.join_next().await);
        }
        while let Some(ended) = running.try_join_next() {
            note(Some(ended));
        }
        // The server does not listen for 30 ms in each 300.
        match order % 200 {
            0 => proxies[usize::from(order % 400 == 0)].refuse().await,
            20 => proxies[usize::from(order % 400 == 20)].accept().await,
            _ => {}
        }
        if order % (calls / 4).max(1) == 0 {
            samples.push((live(), resident()));
        }
        let which = usize::from(order % 2 == 0);
        let (client, uri) = (clients[which].clone(), uris[which].clone());
        let call = submit(client, uri, order, Arc::clone(&kills));
        running.spawn(async move { (order, call.await) });
    }
    while !running.is_empty() {
        note(running.join_next().await);
    }
    let took = start.elapsed();
    let (live_after, resident_after) = (live(), resident());

    let books = shop.books();
    let charged = ends.iter().filter(|end| **end == End::Charged).count();
    let kills = kills.load(SeqCst);
    let connections = [proxies[0].connections(), proxies[1].connections()];
    println!(
        "{calls} calls in {took:.1?}: {charged} charged, {} failed, {kills} killed; {} requests, {} of them replays; \
         {connections:?} connections; heap {samples:?}, then ({live_after}, {resident_after})",
        ends.len() - charged,
        books.requests,
        books.replayed,
    );

    // No customer is charged twice, and each order whose call reported a charge was charged.
    for (order, end) in (0..).zip(&ends) {
        let charges = books.charges.get(&order).copied().unwrap_or(0);
        assert!(charges <= 1, "order {order} was charged {charges} times");
        assert!(*end == End::Failed || charges == 1, "order {order} was not");
    }
    // There were faults.
    let lost = ends.len() - charged;
    assert!(kills > ends.len() / 10 && books.replayed > calls / 50 && lost > 0);
    assert!(connections.iter().all(|made| *made > ends.len() / 200));
    // How many are charged depends on how busy the machine is.
    assert!(charged > 0, "nothing but a storm");
    // The shop remembers each key; apart from that, a call leaves nothing.
    let first = samples[1].0;
    let most = first + 512 * ends.len() + (4 << 20);
    assert!(live_after < most, "{first} bytes, then {live_after}");

    // The storm ends, and all failed calls are submitted again.
    storm.store(false, SeqCst);
    shop.calm();
    for proxy in &proxies {
        proxy.accept().await;
    }
    let mut again = JoinSet::new();
    for (order, _) in (0..calls)
        .zip(&ends)
        .filter(|(_, end)| **end == End::Failed)
    {
        let which = usize::from(order % 2 == 0);
        let (client, uri) = (clients[which].clone(), uris[which].clone());
        again.spawn(async move {
            // A connection from before may still be broken.
            for _ in 0..50 {
                if charge(client.clone(), uri.clone(), order).await == End::Charged {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
            panic!("order {order} cannot be charged");
        });
    }
    while let Some(charged) = again.join_next().await {
        charged.unwrap();
    }
    drop(books);
    let books = shop.books();
    assert_eq!(books.charges.len(), ends.len());
    assert!(books.charges.values().all(|charges| *charges == 1));

    // Nothing is left.
    drop((clients, running, again, books, uris, samples, storm));
    eventually("the proxies have no connection", || {
        proxies.iter().all(|proxy| proxy.open_connections() == 0)
    })
    .await;
    drop((proxies, shop));
    let metrics = Handle::current().metrics();
    eventually("no task", || metrics.num_alive_tasks() == 0).await;
    eventually("no socket", || files() == files_before).await;
    let left = live().saturating_sub(live_before);
    println!("{left} bytes left");
    assert!(left < 64 << 10, "{left} bytes are left");
}
