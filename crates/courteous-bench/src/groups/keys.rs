//! Group 5: limits that are kept apart by keys, for tenants or origins.

use std::{
    fmt,
    future::Future,
    io,
    num::{NonZeroU32, NonZeroUsize},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use courteous::{Bucket, ConcurrencyLimitLayer, Limiters, Rate, ThrottleLayer, throttle::Keyed};
use governor::{Quota, RateLimiter};
use tokio::{runtime::Builder, time::Instant};
use tower::{Layer, Service, service_fn};

use super::Effort;
use crate::{
    contenders::OURS,
    kit::{Request, Shape, Spread, Table, Transport, cpu_of, heap_left_by},
};

/// Calls to a sample.
const CALLS: u32 = 2048;

/// The table of the group.
pub(crate) fn run(effort: Effort) -> io::Result<String> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let many = effort.of(100_000, 1_000_000) as u32;
    let mut table = Table::new(
        2,
        [
            "limit",
            "who",
            "keys",
            "a call with a known key, ns (min < **median** < max)",
            "heap per key, bytes",
            "a call with a new key, ns",
            "the longest of them, us",
        ],
    );
    let mut bare = bare();
    for contender in CONTENDERS {
        for keys in [1, 1_000, many] {
            let known = known(contender, keys, &mut bare, effort.of(5, 25));
            let new = (keys > 1).then(|| new(contender, keys));
            table.row([
                contender.limit.to_owned(),
                contender.who.to_owned(),
                keys.to_string(),
                known.nanos.to_string(),
                format!("{:.0}", known.heap),
                new.as_ref()
                    .map_or("-".to_owned(), |new| format!("{:.0}", new.nanos)),
                new.as_ref()
                    .map_or("-".to_owned(), |new| format!("{:.0}", new.longest)),
            ]);
        }
    }
    Ok(format!(
        "Known keys are not idle, so that none can be forgotten: throttles are below their burst, limits have a call in \
         flight. New keys come one after the other when there are as many idle ones as there may be.\n\n{table}"
    ))
}

struct Contender {
    limit: &'static str,
    who: &'static str,
    /// A service that reads its keys from the number, has so many at the most, and lets them be forgotten soon, or not.
    open: fn(Arc<AtomicU32>, max_keys: u32, soon: bool) -> Box<dyn Tenants>,
    /// Whether a key is kept only while a call is in flight.
    held: bool,
}

const CONTENDERS: &[Contender] = &[
    Contender {
        limit: "throttle",
        who: OURS,
        open: throttle,
        held: false,
    },
    Contender {
        limit: "throttle",
        who: "governor, by hand, keys swept by hand",
        open: governor,
        held: false,
    },
    Contender {
        limit: "concurrency limit",
        who: OURS,
        open: concurrency,
        held: true,
    },
];

/// A service that has a limit for each key.
trait Tenants {
    /// Makes a call for each key.
    fn call(&mut self, keys: &mut dyn Iterator<Item = u32>);

    /// Begins a call for each key, and keeps it in flight. Tells how many bytes those calls themselves have.
    fn hold(&mut self, keys: u32) -> usize;
}

struct Kept<S: Service<Request>> {
    service: S,
    /// The key of the next call.
    key: Arc<AtomicU32>,
    held: Vec<S::Future>,
}

impl<S> Tenants for Kept<S>
where
    S: Service<Request, Error: fmt::Debug>,
{
    fn call(&mut self, keys: &mut dyn Iterator<Item = u32>) {
        let mut cx = Context::from_waker(Waker::noop());
        for key in keys {
            let mut call = pin!(self.begin(key));
            let Poll::Ready(Ok(response)) = call.as_mut().poll(&mut cx) else {
                panic!("the call waits or failed");
            };
            drop(response);
        }
    }

    fn hold(&mut self, keys: u32) -> usize {
        self.held.reserve_exact(keys as usize);
        for key in 0..keys {
            let call = self.begin(key);
            self.held.push(call);
        }
        self.held.capacity() * size_of::<S::Future>()
    }
}

impl<S: Service<Request>> Kept<S> {
    fn begin(&mut self, key: u32) -> S::Future {
        self.key.store(key, Ordering::Relaxed);
        let mut cx = Context::from_waker(Waker::noop());
        let ready = self.service.poll_ready(&mut cx);
        assert!(matches!(ready, Poll::Ready(Ok(()))), "not ready");
        self.service.call(Shape::Floor.request(true))
    }
}

fn tenants<S>(service: S, key: Arc<AtomicU32>) -> Box<dyn Tenants>
where
    S: Service<Request, Error: fmt::Debug> + 'static,
{
    Box::new(Kept {
        service,
        key,
        held: Vec::new(),
    })
}

const TRANSPORT: Transport = Transport { pending: false };

fn bare() -> Box<dyn Tenants> {
    tenants(TRANSPORT, Arc::default())
}

/// Tokens that come back within a microsecond, or never while this runs; and more of them than are used.
fn pace(soon: bool) -> (Duration, NonZeroU32) {
    match soon {
        true => (Duration::from_micros(1), NonZeroU32::MIN),
        false => (Duration::from_secs(3600), NonZeroU32::MAX),
    }
}

fn throttle(key: Arc<AtomicU32>, max_keys: u32, soon: bool) -> Box<dyn Tenants> {
    let (per, burst) = pace(soon);
    let rate = Rate::new(1, per).unwrap_or_else(|error| panic!("{error}"));
    let read = Arc::clone(&key);
    let keyed = Keyed::new(Bucket::new(rate.with_burst(burst)), move |_| {
        read.load(Ordering::Relaxed)
    });
    let layer = ThrottleLayer::of(keyed.with_max_keys(count(max_keys)));
    tenants(layer.layer(TRANSPORT), key)
}

fn governor(key: Arc<AtomicU32>, max_keys: u32, soon: bool) -> Box<dyn Tenants> {
    let (per, burst) = pace(soon);
    let quota = Quota::with_period(per).unwrap_or_else(|| panic!("a period of zero"));
    let limiter = Arc::new(RateLimiter::dashmap(quota.allow_burst(burst)));
    let read = Arc::clone(&key);
    let service = service_fn(move |request: Request| {
        let key = read.load(Ordering::Relaxed);
        // It forgets no key by itself.
        if key > 0 && key.is_multiple_of(max_keys) {
            limiter.retain_recent();
        }
        let (limiter, mut inner) = (Arc::clone(&limiter), TRANSPORT);
        async move {
            limiter.until_key_ready(&key).await;
            inner.call(request).await
        }
    });
    tenants(service, key)
}

fn concurrency(key: Arc<AtomicU32>, max_keys: u32, _: bool) -> Box<dyn Tenants> {
    let read = Arc::clone(&key);
    let limiters = Limiters::new(count(64)).with_max_keys(count(max_keys));
    let layer = ConcurrencyLimitLayer::of(limiters, move |_| read.load(Ordering::Relaxed));
    tenants(layer.layer(TRANSPORT), key)
}

fn count(number: u32) -> NonZeroUsize {
    NonZeroUsize::new(number as usize).unwrap_or(NonZeroUsize::MIN)
}

struct Known {
    nanos: Spread,
    heap: f64,
}

/// What a call costs, and what a key does, with so many keys.
fn known(contender: &Contender, keys: u32, bare: &mut Box<dyn Tenants>, rounds: usize) -> Known {
    let mut tenants = (contender.open)(Arc::default(), keys + 1, false);
    let mut calls = 0;
    let heap = heap_left_by(|| match contender.held {
        true => calls = tenants.hold(keys),
        false => tenants.call(&mut (0..keys)),
    });
    let mut samples = Vec::new();
    for round in 0..rounds as u32 {
        // All over the place, and the same for both.
        let any = (0..CALLS).map(|call| (round * CALLS + call).wrapping_mul(0x9E37_79B1) % keys);
        let with = cpu_of(|| tenants.call(&mut any.clone()));
        let without = cpu_of(|| bare.call(&mut any.clone()));
        let nanos = with.as_nanos() as f64 - without.as_nanos() as f64;
        samples.push(nanos / f64::from(CALLS));
    }
    Known {
        nanos: Spread::of(&samples),
        heap: (heap - calls as f64) / f64::from(keys),
    }
}

struct New {
    nanos: f64,
    longest: f64,
}

/// What a call with a new key costs when there are as many keys as there may be, all idle.
fn new(contender: &Contender, keys: u32) -> New {
    let mut tenants = (contender.open)(Arc::default(), keys, true);
    tenants.call(&mut (0..keys));
    let mut longest = Duration::ZERO;
    let times = keys.max(CALLS);
    let spent = cpu_of(|| {
        for key in keys..keys + times {
            let start = Instant::now();
            tenants.call(&mut std::iter::once(key));
            longest = longest.max(start.elapsed());
        }
    });
    New {
        nanos: spent.as_nanos() as f64 / f64::from(times),
        longest: longest.as_secs_f64() * 1e6,
    }
}
