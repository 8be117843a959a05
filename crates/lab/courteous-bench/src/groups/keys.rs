//! Group 5: limits with keys, for tenants or origins.

use std::{
    fmt,
    future::Future,
    io, iter,
    num::{NonZeroU32, NonZeroUsize},
    ops::Range,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use courteous::{
    concurrency,
    concurrency::{ConcurrencyLimitLayer, Limiter},
    throttle,
    throttle::{Bucket, Rate, ThrottleLayer},
};
use cpu_time::ThreadTime;
use governor::{Quota, RateLimiter};
use tokio::runtime::Builder;
use tower::{Layer, Service, service_fn};

use super::{Effort, origins};
use crate::{
    contenders::OURS,
    kit::{Request, Shape, Spread, Table, Transport, cpu_of, heap_left_by, uncounted},
};

/// Calls per sample.
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
            "a call with one key more, ns",
            "the longest of them, us",
            "a call with another key when all are idle, ns",
            "the longest of them, us",
        ],
    );
    let mut bare = bare();
    for contender in CONTENDERS {
        for keys in [1, 1_000, many] {
            let known = known(contender, keys, &mut bare, effort.of(5, 25));
            let [more, other] = match keys {
                1 => ["-", "-"].map(|none| [none.to_owned(), none.to_owned()]),
                _ => new(contender, keys, effort.of(1, 3)).map(|new| new.cells()),
            };
            let cells = [
                contender.limit.to_owned(),
                contender.who.to_owned(),
                keys.to_string(),
                known.nanos.to_string(),
                format!("{:.0}", known.heap),
            ];
            table.row(cells.into_iter().chain(more).chain(other));
        }
    }
    Ok(format!(
        "Known keys are not idle, so that none can be forgotten: throttles are below their burst, limits have a call in \
         flight. *One key more*: they come one after the other until there are so many, none of them idle. *Another key*: \
         then all become idle at once, there may be no more of them, and as many new ones come. The longest call, by the \
         CPU time of the thread, is where a table grows, or all keys are looked at.\n\n{table}\n\
         The state of a request's origin, looked up in one layer or in three, by calls that go round the origins. *One \
         hash*: the first layer makes it, and the call carries it. *A key of its own*: each layer makes an `Origin` and \
         hashes it, as with any other key.\n\n{}",
        origins::table(effort)
    ))
}

struct Contender {
    limit: &'static str,
    who: &'static str,
    /// Opens a service that reads its keys from the number. It has at most `max_keys` keys, and
    /// keeps each key in use for `in_use` after its call, or for good.
    open: fn(Arc<AtomicU32>, max_keys: u32, in_use: Option<Duration>) -> Box<dyn Tenants>,
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

    /// Makes room for this many calls in flight. Returns how many bytes that takes.
    fn make_room(&mut self, calls: u32) -> usize;

    /// Begins a call with the key, and keeps it in flight.
    fn hold(&mut self, key: u32);

    /// Ends all calls in flight.
    fn release(&mut self);
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

    fn make_room(&mut self, calls: u32) -> usize {
        self.held.reserve_exact(calls as usize);
        self.held.capacity() * size_of::<S::Future>()
    }

    fn hold(&mut self, key: u32) {
        let call = self.begin(key);
        self.held.push(call);
    }

    fn release(&mut self) {
        self.held.clear();
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

/// A token that comes back after `in_use`; or more tokens than are used, and none comes back while
/// this runs.
fn pace(in_use: Option<Duration>) -> (Duration, NonZeroU32) {
    match in_use {
        Some(in_use) => (in_use, NonZeroU32::MIN),
        None => (
            Duration::from_secs(3600),
            const { NonZeroU32::new(500_000).unwrap() },
        ),
    }
}

fn throttle(key: Arc<AtomicU32>, max_keys: u32, in_use: Option<Duration>) -> Box<dyn Tenants> {
    let (per, burst) = pace(in_use);
    let rate = Rate::new(1, per).unwrap_or_else(|error| panic!("{error}"));
    let read = Arc::clone(&key);
    let keyed = throttle::Keyed::new(Bucket::new(rate.with_burst(burst)), move |_| {
        read.load(Ordering::Relaxed)
    });
    let layer = ThrottleLayer::of(keyed.with_max_keys(count(max_keys)));
    tenants(layer.layer(TRANSPORT), key)
}

fn governor(key: Arc<AtomicU32>, max_keys: u32, in_use: Option<Duration>) -> Box<dyn Tenants> {
    let (per, burst) = pace(in_use);
    let quota = Quota::with_period(per).unwrap_or_else(|| panic!("a period of zero"));
    let limiter = Arc::new(RateLimiter::dashmap(quota.allow_burst(burst)));
    let read = Arc::clone(&key);
    let service = service_fn(move |request: Request| {
        let key = read.load(Ordering::Relaxed);
        // The limiter forgets no key on its own.
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

fn concurrency(key: Arc<AtomicU32>, max_keys: u32, _: Option<Duration>) -> Box<dyn Tenants> {
    let read = Arc::clone(&key);
    let keyed = concurrency::Keyed::new(Limiter::from(count(64)), move |_| {
        read.load(Ordering::Relaxed)
    });
    let layer = ConcurrencyLimitLayer::of(keyed.with_max_keys(count(max_keys)));
    tenants(layer.layer(TRANSPORT), key)
}

fn count(number: u32) -> NonZeroUsize {
    NonZeroUsize::new(number as usize).unwrap_or(NonZeroUsize::MIN)
}

struct Known {
    nanos: Spread,
    heap: f64,
}

/// What a call costs, and how much heap a key takes, with this many keys.
fn known(contender: &Contender, keys: u32, bare: &mut Box<dyn Tenants>, rounds: usize) -> Known {
    let mut tenants = (contender.open)(Arc::default(), keys + 1, None);
    let mut calls = 0;
    let heap = heap_left_by(|| match contender.held {
        true => {
            calls = tenants.make_room(keys);
            (0..keys).for_each(|key| tenants.hold(key));
        }
        false => tenants.call(&mut (0..keys)),
    });
    let mut samples = Vec::new();
    for round in 0..rounds as u32 {
        // Spread over all keys, and the same for both.
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

/// What calls with new keys cost.
struct New {
    nanos: Spread,
    longest: Spread,
}

impl New {
    fn of(rounds: &[Round]) -> Self {
        let spread = |of: fn(&Round) -> f64| Spread::of(&rounds.iter().map(of).collect::<Vec<_>>());
        Self {
            nanos: spread(|round| round.nanos),
            longest: spread(|round| round.longest),
        }
    }

    fn cells(&self) -> [String; 2] {
        [self.nanos.to_string(), self.longest.to_string()]
    }
}

struct Round {
    /// Nanoseconds of a call.
    nanos: f64,
    /// The longest call, in microseconds.
    longest: f64,
}

impl Round {
    /// Makes a call for each key, and reads the clock after each call.
    fn of(keys: Range<u32>, mut call: impl FnMut(u32)) -> Self {
        let mut longest = Duration::ZERO;
        let calls = keys.len() as f64;
        let mut spent = Duration::ZERO;
        uncounted(|| {
            for key in keys {
                let start = ThreadTime::now();
                call(key);
                let elapsed = start.elapsed();
                spent += elapsed;
                longest = longest.max(elapsed);
            }
        });
        Self {
            nanos: (spent.as_nanos() as f64) / calls,
            longest: longest.as_secs_f64() * 1e6,
        }
    }
}

/// What calls with new keys cost: until there are as many keys as allowed, none of them idle; and
/// after all have become idle.
fn new(contender: &Contender, keys: u32, rounds: usize) -> [New; 2] {
    // More than enough time to make all those calls.
    let in_use = Duration::from_micros(3 * u64::from(keys)).max(Duration::from_millis(20));
    let mut more = Vec::new();
    let mut other = Vec::new();
    for _ in 0..rounds {
        let mut tenants = (contender.open)(Arc::default(), keys, Some(in_use));
        if contender.held {
            tenants.make_room(keys);
        }
        more.push(Round::of(0..keys, |key| match contender.held {
            true => tenants.hold(key),
            false => tenants.call(&mut iter::once(key)),
        }));
        match contender.held {
            true => tenants.release(),
            false => wait(in_use),
        }
        other.push(Round::of(keys..2 * keys, |key| {
            tenants.call(&mut iter::once(key));
        }));
    }
    [New::of(&more), New::of(&other)]
}

/// Waits by the clock that all contenders read, while nothing else is done.
#[allow(clippy::disallowed_methods, reason = "there is nobody to hold up")]
fn wait(time: Duration) {
    thread::sleep(time);
}
