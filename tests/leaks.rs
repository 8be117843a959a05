//! A thousand calls, some of them dropped at random points. Afterwards every handle reads as it did
//! at the start.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod parts;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::{BoxError, CallContext};
use courteous_idempotency::IdempotencyKeyLayer;
use courteous_retry::{Budget, RetryLayer};
use courteous_testkit::{Calm, Chance, Probe, Reply, Storm, Task, TestBody};
use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::{runtime::Handle, time::sleep};
use tower_layer::{Layer, Stack};
use tower_service::Service;

use crate::parts::{limit_of, retry_waiting, throttle_of};

const MS: Duration = Duration::from_millis(1);
const SEEDS: std::ops::Range<u64> = 0..4;
const CALLS: usize = 1000;

/// A probe that is fast, slow, failing, refusing or stalling in turns that `seed` decides.
fn moody(seed: u64) -> Probe {
    let chance = Mutex::new(Chance::new(seed ^ 0xd1ce));
    Probe::new().reading_bodies().otherwise(move |_| {
        let mut chance = chance.lock().unwrap();
        let body = TestBody::new()
            .chunk("one")
            .pause(chance.time(20 * MS))
            .chunk("two")
            .pause(chance.time(20 * MS));
        let reply = match chance.below(16) {
            0..3 => Reply::status(503).body(body),
            3 => Reply::error(),
            4 => Reply::never(),
            5 => Reply::ok().body(body.stall()),
            6 => Reply::ok().body(body.fail("broken")),
            7 => Reply::ok(),
            _ => Reply::ok().body(body),
        };
        reply
            .pending(usize::from(chance.one_in(4)))
            .after(chance.time(60 * MS))
    })
}

fn request(_: usize) -> Request<Full<Bytes>> {
    Request::put("http://api.test/")
        .body(Full::from("body"))
        .unwrap()
}

/// Runs a storm of calls, and checks everything that the inner service can show.
async fn weather<L, S, B>(layer: &L, seed: u64) -> (Probe, Calm)
where
    L: Layer<Probe, Service = S>,
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    B: Body<Error: Into<BoxError>> + 'static,
{
    let probe = moody(seed);
    // This timeout drops a call that stalls for ever, if no layer does.
    let patient = TotalTimeoutLayer::new(Duration::from_secs(30));
    let calm = Storm::new(CALLS, seed)
        .run(&patient.layer(layer.layer(probe.clone())), request)
        .await;
    assert_eq!(probe.in_flight(), 0, "inner calls");
    assert_eq!(probe.ready_held(), 0, "inner readiness");
    assert_eq!(probe.bodies().alive(), 0, "response bodies");
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "tasks");
    let calls = probe.calls();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(probe.calls(), calls, "calls made for nobody");
    (probe, calm)
}

/// How many calls are admitted at once, when more are made than the limit allows.
async fn admitted<L, S, B>(layer: &L) -> usize
where
    L: Layer<Probe, Service = S>,
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
{
    let probe = Probe::new().otherwise(|_| Reply::never());
    let service = layer.layer(probe.clone());
    let mut calls = Vec::new();
    for _ in 0..100 {
        let mut service = service.clone();
        let mut call = Task::new(async move {
            let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
            assert!(ready.is_ok());
            service.call(request(0)).await
        });
        assert!(call.settle().await.is_pending());
        calls.push(call);
    }
    probe.calls()
}

#[tokio::test(start_paused = true)]
async fn timeouts_and_keys_hold_nothing() {
    for seed in SEEDS {
        weather(&TotalTimeoutLayer::new(50 * MS), seed).await;
        weather(&AttemptTimeoutLayer::new(50 * MS), seed).await;
        weather(&IdempotencyKeyLayer::new(), seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_gets_every_permit_back() {
    for seed in SEEDS {
        let (layer, limiter) = limit_of(20);
        weather(&layer, seed).await;
        assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
        assert_eq!(admitted(&layer).await, 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttle_gets_every_token_back_that_was_not_sent() {
    for seed in SEEDS {
        let (layer, bucket) = throttle_of(500, 20);
        let (probe, _) = weather(&layer, seed).await;
        assert_eq!((bucket.waiting(), bucket.available()), (0, 20));
        let sends = probe.instants();
        for (first, at) in sends.iter().enumerate() {
            let window = 100 * MS;
            let within = sends[first..]
                .iter()
                .take_while(|send| **send - *at <= window);
            let within = within.count();
            assert!(within <= 20 + 50, "{within} sends within {window:?}");
        }
        assert_eq!(admitted(&layer).await, 20);
    }
}

/// A budget that earns nothing; each retry takes one from it.
fn plain_budget() -> Budget {
    Budget::builder()
        .deposit(0.0)
        .start(300)
        .cap(300, 300)
        .price_after_no_response(1)
        .build()
        .unwrap()
}

/// The retries that the inner service has seen.
fn retries(probe: &Probe) -> usize {
    let attempts = probe.seen();
    let numbers = attempts.iter().filter_map(|seen| seen.context.attempt());
    numbers.filter(|number| number.get() > 1).count()
}

#[tokio::test(start_paused = true)]
async fn a_retry_pays_for_what_it_sent_and_for_nothing_else() {
    for seed in SEEDS {
        let budget = plain_budget();
        let layer = retry_waiting(50 * MS).with_budget(budget.clone());
        let (probe, _) = weather(&layer, seed).await;
        let sent = retries(&probe);
        assert!(sent > 100);
        assert_eq!(budget.balance() + sent as f64, 300.0);
        assert_eq!(budget.retries(), sent as u64);
    }
}

/// Counts the further attempts that a retry makes, sent or not.
#[derive(Clone, Default)]
struct HandedOn<S = ()> {
    inner: S,
    retries: Arc<AtomicU64>,
}

impl<S> Layer<S> for HandedOn {
    type Service = HandedOn<S>;

    fn layer(&self, inner: S) -> HandedOn<S> {
        let retries = self.retries.clone();
        HandedOn { inner, retries }
    }
}

impl<S, B> Service<Request<B>> for HandedOn<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let attempt = CallContext::of(request.extensions()).attempt();
        let further = attempt.is_some_and(|attempt| attempt.get() > 1);
        self.retries.fetch_add(u64::from(further), Relaxed);
        self.inner.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_stack_holds_nothing() {
    for seed in SEEDS {
        let (concurrency_limit, limiter) = limit_of(20);
        let (throttle, bucket) = throttle_of(500, 20);
        let budget = plain_budget();
        let retry: RetryLayer = retry_waiting(50 * MS).with_budget(budget.clone());
        let limits = Stack::new(
            Stack::new(AttemptTimeoutLayer::new(80 * MS), throttle),
            concurrency_limit,
        );
        let outside = Stack::new(
            TotalTimeoutLayer::new(1500 * MS),
            IdempotencyKeyLayer::new(),
        );
        let handed_on = HandedOn::default();
        let inside = Stack::new(limits.clone(), handed_on.clone());
        let stack = Stack::new(Stack::new(inside, retry), outside);
        let (probe, calm) = weather(&stack, seed).await;
        assert!(calm.finished > 0 && calm.failed > 0 && calm.dropped > 0);
        assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
        assert_eq!((bucket.waiting(), bucket.available()), (0, 20));
        // An attempt that was dropped in an inner queue was not sent, which the retry cannot know.
        let spent = budget.retries();
        assert_eq!(budget.balance() + spent as f64, 300.0);
        let handed_on = handed_on.retries.load(Relaxed);
        assert!((retries(&probe) as u64..=handed_on).contains(&spent));
        assert_eq!(admitted(&limits).await, 20);
    }
}
