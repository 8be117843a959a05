//! Under any sequence of calls, polls, drops, pauses and limit changes, each handle keeps its
//! promises.
//!
//! Each property has a model that learns only what the inner service saw. What a layer's own crate
//! already proves is not repeated here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a check that fails panics"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    num::{NonZeroU32, NonZeroUsize},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use courteous_backoff::{Backoff, Jitter};
use courteous_concurrency::{self as concurrency, ConcurrencyLimitLayer, Limiter};
use courteous_core::{BoxError, CallContext};
use courteous_retry::{Budget, RetryLayer};
use courteous_throttle::{Bucket, Cost, Keyed, Rate, ThrottleLayer};
use http::{Request, Response, Uri};
use http_body_util::Full;
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};
use tokio_test::task::{self, Spawn};
use tower_layer::{Layer, Stack};
use tower_service::Service;

type Body = Full<Bytes>;
type Call<F> = Spawn<Pin<Box<F>>>;

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Status(u16),
    Error,
    Never,
}

/// The remaining results of one call's attempts; after them, 200.
#[derive(Clone)]
struct Script(Arc<Mutex<VecDeque<Reply>>>);

/// One attempt, as the inner service saw it.
#[derive(Clone, Copy, Debug)]
struct Sent {
    call: usize,
    attempt: u32,
    cost: u32,
    reply: Reply,
    at: Instant,
}

/// The inner service: it is always ready, and answers as each request's script says.
#[derive(Clone, Default)]
struct Leaf(Arc<Mutex<Vec<Sent>>>);

impl Leaf {
    /// The requests that were sent since the last check.
    fn news(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Service<Request<Body>> for Leaf {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let extensions = request.extensions();
        let script = extensions.get::<Script>();
        let reply = script.and_then(|script| script.0.lock().unwrap().pop_front());
        let reply = reply.unwrap_or(Reply::Status(200));
        let attempt = CallContext::of(extensions).attempt();
        self.0.lock().unwrap().push(Sent {
            call: *extensions.get().unwrap(),
            attempt: attempt.map_or(1, NonZeroU32::get),
            cost: extensions.get().map_or(1, |Paid(cost)| *cost),
            reply,
            at: Instant::now(),
        });
        Box::pin(async move {
            match reply {
                Reply::Never => std::future::pending().await,
                Reply::Error => Err(io::Error::other("the wire is cut").into()),
                Reply::Status(status) => {
                    let body = Full::from("body");
                    Ok(Response::builder().status(status).body(body).unwrap())
                }
            }
        })
    }
}

/// The unfinished calls on one service, in order.
struct Calls<S: Service<Request<Body>>> {
    service: S,
    made: usize,
    waiting: Vec<(usize, Call<S::Future>)>,
    responses: Vec<S::Response>,
    errors: Vec<(usize, BoxError)>,
    /// Whether each call is polled as soon as it is woken.
    prompt: bool,
}

impl<S> Calls<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
{
    fn new(service: S, prompt: bool) -> Self {
        Self {
            service,
            made: 0,
            waiting: Vec::new(),
            responses: Vec::new(),
            errors: Vec::new(),
            prompt,
        }
    }

    fn call(&mut self, mut request: Request<Body>) {
        let number = self.made;
        self.made += 1;
        request.extensions_mut().insert(number);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(self.service.poll_ready(&mut cx).is_ready());
        let call = Box::pin(self.service.call(request));
        self.waiting.push((number, task::spawn(call)));
        self.poll(self.waiting.len() - 1);
    }

    /// Polls the call at `at`. Returns whether it is over.
    fn poll(&mut self, at: usize) -> bool {
        let Poll::Ready(end) = self.waiting[at].1.poll() else {
            return false;
        };
        let (number, _) = self.waiting.remove(at);
        match end {
            Ok(response) => self.responses.push(response),
            Err(error) => self.errors.push((number, error.into())),
        }
        true
    }

    /// Polls the woken calls, oldest first, until no call is woken.
    fn settle(&mut self) {
        while let Some(at) = self.waiting.iter().position(|(_, call)| call.is_woken()) {
            self.poll(at);
        }
    }

    fn drop_one(&mut self, index: prop::sample::Index) {
        if !self.waiting.is_empty() {
            drop(self.waiting.remove(index.index(self.waiting.len())));
        }
    }

    fn drop_response(&mut self, index: prop::sample::Index) {
        if !self.responses.is_empty() {
            drop(
                self.responses
                    .swap_remove(index.index(self.responses.len())),
            );
        }
    }

    fn poll_one(&mut self, index: prop::sample::Index) {
        if !self.waiting.is_empty() {
            self.poll(index.index(self.waiting.len()));
        }
    }

    fn drop_all(&mut self) {
        self.waiting.clear();
        self.responses.clear();
    }

    /// Polls every woken call until all are finished, and lets `check` look at what was sent.
    async fn drain(&mut self, mut check: impl FnMut()) {
        for (_, call) in &mut self.waiting {
            call.enter(|cx, _| cx.waker().wake_by_ref());
        }
        let mut patience = 20_000;
        while !self.waiting.is_empty() {
            self.responses.clear();
            self.settle();
            check();
            sleep(Duration::from_millis(50)).await;
            patience -= 1;
            assert!(patience > 0, "{} were never woken", self.waiting.len());
        }
        self.responses.clear();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Call {
        cost: u32,
        key: u32,
        script: Vec<Reply>,
    },
    Poll(prop::sample::Index),
    Drop(prop::sample::Index),
    DropResponse(prop::sample::Index),
    Sleep(u64),
    SetRate(u32, u32),
    SetLimit(usize),
    Close(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let reply = prop_oneof![
        4 => select(vec![500, 503, 429]).prop_map(Reply::Status),
        1 => Just(Reply::Error),
        1 => Just(Reply::Never),
        3 => Just(Reply::Status(200)),
    ];
    let script = vec(reply, 0..5);
    prop_oneof![
        6 => (1..4_u32, 0..40_u32, script).prop_map(|(cost, key, script)| Step::Call { cost, key, script }),
        3 => any::<prop::sample::Index>().prop_map(Step::Poll),
        2 => any::<prop::sample::Index>().prop_map(Step::Drop),
        2 => any::<prop::sample::Index>().prop_map(Step::DropResponse),
        4 => (1..300_u64).prop_map(Step::Sleep),
        1 => (1..60_u32, 3..7_u32).prop_map(|(rate, burst)| Step::SetRate(rate, burst)),
        1 => (1..5_usize).prop_map(Step::SetLimit),
        1 => (1..400_u64).prop_map(Step::Close),
    ]
}

fn rate(tokens: u32, burst: u32) -> Rate {
    let rate = Rate::new(tokens, Duration::from_secs(1)).unwrap();
    rate.with_burst(NonZeroU32::new(burst).unwrap())
}

fn some(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

/// The cost of a request, for the service to count.
#[derive(Clone, Copy)]
struct Paid(u32);

fn request(cost: u32, key: u32, script: &[Reply]) -> Request<Body> {
    let mut request = Request::put(format!("http://api.test/{key}"))
        .body(Body::from("body"))
        .unwrap();
    let extensions = request.extensions_mut();
    extensions.insert(Cost::new(cost));
    extensions.insert(Paid(cost));
    extensions.insert(Script(Arc::new(Mutex::new(
        script.iter().copied().collect(),
    ))));
    request
}

fn key_of(uri: &Uri) -> u32 {
    uri.path()[1..].parse().unwrap()
}

fn paused(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(test);
}

/// A model of a bucket. It is exact: at a whole number of tokens a second, each nanosecond brings
/// back whole billionths.
#[derive(Clone, Copy)]
struct Model {
    rate: u32,
    burst: u32,
    level: u128,
    at: Instant,
    opens: Option<Instant>,
}

const TOKEN: u128 = 1_000_000_000;

impl Model {
    fn new(rate: u32, burst: u32) -> Self {
        Self {
            rate,
            burst,
            level: u128::from(burst) * TOKEN,
            at: Instant::now(),
            opens: None,
        }
    }

    fn earn(&mut self, until: Instant, cap: u32) {
        let earned = u128::from(self.rate) * (until - self.at).as_nanos();
        self.level = (self.level + earned).min(u128::from(cap.min(self.burst)) * TOKEN);
        self.at = until;
    }

    fn advance(&mut self) {
        let now = Instant::now();
        if let Some(opens) = self.opens {
            // "It opens with at most one token."
            self.earn(now.min(opens), 1);
            if now < opens {
                return;
            }
            self.opens = None;
        }
        self.earn(now, self.burst);
    }

    fn set_rate(&mut self, rate: u32, burst: u32) {
        self.advance();
        (self.rate, self.burst) = (rate, burst);
        self.level = self.level.min(u128::from(burst) * TOKEN);
    }

    fn close_until(&mut self, opens: Instant) {
        self.advance();
        self.opens = self.opens.max(Some(opens));
    }

    /// The level is never below zero nor above the burst, which bounds every window.
    fn send(&mut self, sent: Sent) {
        assert_eq!(sent.at, Instant::now());
        self.advance();
        assert_eq!(self.opens, None, "sent while it was closed");
        let cost = u128::from(sent.cost) * TOKEN;
        assert!(self.level >= cost, "sent without a token");
        self.level -= cost;
    }

    fn available(&mut self) -> u32 {
        self.advance();
        let whole = u32::try_from(self.level / TOKEN).unwrap();
        if self.opens.is_some() { 0 } else { whole }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every token is spent by one send or comes back, however the waiting calls end and however
    /// the rate changes. Calls that are polled in time are sent in order.
    #[test]
    fn a_bucket_is_exact_through_changes_of_its_rate(
        start in (1..60_u32, 3..7_u32),
        steps in vec(step(), 0..120),
        prompt: bool,
        drained: bool,
    ) {
        paused(async {
            let bucket = Bucket::new(rate(start.0, start.1)).with_jitter(Duration::ZERO);
            let leaf = Leaf::default();
            let mut calls = Calls::new(ThrottleLayer::from(bucket.clone()).layer(leaf.clone()), prompt);
            let mut model = Model::new(start.0, start.1);
            let mut last = None;
            let mut check = |model: &mut Model| for sent in leaf.news() {
                model.send(sent);
                assert!(!prompt || last < Some(sent.call), "{} after {last:?}", sent.call);
                last = Some(sent.call);
            };
            for step in steps {
                match step {
                    Step::Call { cost, .. } => calls.call(request(cost, 0, &[])),
                    Step::Poll(index) => calls.poll_one(index),
                    Step::Drop(index) => calls.drop_one(index),
                    Step::Sleep(millis) => for _ in 0..millis.div_ceil(10) {
                        sleep(Duration::from_millis(10)).await;
                        if prompt {
                            calls.settle();
                            check(&mut model);
                        }
                    },
                    Step::SetRate(tokens, burst) => {
                        bucket.set_rate(rate(tokens, burst));
                        model.set_rate(tokens, burst);
                    }
                    Step::Close(millis) => {
                        let opens = Instant::now() + Duration::from_millis(millis);
                        bucket.close_until(opens);
                        model.close_until(opens);
                    }
                    Step::DropResponse(_) | Step::SetLimit(_) => {}
                }
                if calls.prompt {
                    calls.settle();
                }
                check(&mut model);
                // A granted call is not in the queue any more.
                assert!(bucket.waiting() == calls.waiting.len() || !prompt && bucket.waiting() < calls.waiting.len());
                assert!(bucket.available() <= model.available());
            }
            if drained {
                calls.drain(|| check(&mut model)).await;
            }
            calls.drop_all();
            check(&mut model);
            assert_eq!(bucket.waiting(), 0);
            assert_eq!(bucket.available(), model.available());
            assert!(calls.errors.is_empty(), "{:?}", calls.errors);
        });
    }

    /// No key gets more than its own bucket allows, though buckets are forgotten all the time.
    /// There are never more buckets than the limit allows.
    #[test]
    fn a_forgotten_bucket_owed_nothing(
        max in 1..20_usize,
        steps in vec(step(), 0..200),
        prompt: bool,
    ) {
        paused(async {
            const RATE: (u32, u32) = (20, 3);
            let keyed = Keyed::new(Bucket::new(rate(RATE.0, RATE.1)), |head| key_of(head.uri())).with_max_keys(some(max));
            let leaf = Leaf::default();
            let mut calls = Calls::new(ThrottleLayer::from(keyed.clone()).layer(leaf.clone()), prompt);
            let mut models = BTreeMap::new();
            let mut keys = Vec::new();
            for step in steps {
                match step {
                    Step::Call { cost, key, .. } => {
                        keys.push(key);
                        calls.call(request(cost, key, &[]));
                    }
                    Step::Poll(index) => calls.poll_one(index),
                    Step::Drop(index) => calls.drop_one(index),
                    Step::Sleep(millis) => sleep(Duration::from_millis(millis)).await,
                    _ => {}
                }
                if prompt {
                    calls.settle();
                }
                for sent in leaf.news() {
                    let full = Model::new(RATE.0, RATE.1);
                    models.entry(keys[sent.call]).or_insert(full).send(sent);
                }
                assert!(keyed.len() <= max);
            }
            calls.drop_all();
            sleep(Duration::from_secs(1)).await;
            // All buckets are as good as new, so there is room for the same number of other keys.
            for key in 0..max {
                calls.call(request(3, 1000 + u32::try_from(key).unwrap(), &[]));
            }
            assert!(calls.errors.is_empty() && calls.waiting.is_empty());
        });
    }

    /// Permits belong to their keys, and none is lost or made. They go to the waiters in the order
    /// of their calls.
    #[test]
    fn permits_of_many_keys_are_neither_lost_nor_made(
        max in 1..20_usize,
        steps in vec(step(), 0..200),
    ) {
        paused(async {
            let template = Limiter::new(2).unwrap();
            let limiters = concurrency::Keyed::new(template, |head| key_of(head.uri()));
            let limiters = limiters.with_max_keys(some(max));
            let leaf = Leaf::default();
            let layer = ConcurrencyLimitLayer::of(limiters.clone());
            let mut calls = Calls::new(layer.layer(leaf.clone()), true);
            let mut last = BTreeMap::new();
            let mut keys = Vec::new();
            for step in steps {
                match step {
                    Step::Call { key, .. } => {
                        // Few keys, so that they have queues.
                        keys.push(key % 5);
                        calls.call(request(1, key % 5, &[]));
                    }
                    Step::Poll(index) => calls.poll_one(index),
                    Step::Drop(index) => calls.drop_one(index),
                    Step::DropResponse(index) => calls.drop_response(index),
                    Step::Sleep(millis) => sleep(Duration::from_millis(millis)).await,
                    Step::SetLimit(permits) => limiters.set_limit(permits).unwrap(),
                    Step::SetRate(..) | Step::Close(_) => {}
                }
                calls.settle();
                for sent in leaf.news() {
                    let before = last.insert(keys[sent.call], sent.call);
                    assert!(before < Some(sent.call), "{} after {before:?}", sent.call);
                }
                assert_eq!(limiters.in_flight(), calls.responses.len());
                assert_eq!(limiters.waiting(), calls.waiting.len());
                assert!(limiters.len() <= max);
                for key in 0..5 {
                    let Some(limiter) = limiters.get(&key) else {
                        continue;
                    };
                    let held = limiter.in_flight();
                    assert!(limiter.waiting() == 0 || held >= limiter.limit().get());
                    assert!(held <= 4);
                }
            }
            calls.drop_all();
            assert_eq!((limiters.in_flight(), limiters.waiting()), (0, 0));
            for key in 0..max {
                calls.call(request(1, 1000 + u32::try_from(key).unwrap(), &[]));
            }
            assert!(calls.errors.is_empty() && calls.waiting.is_empty());
        });
    }

    /// The retries of all calls have paid the price of each retry that was sent, and never more
    /// than the budget had. This holds to the millionth, and with calls dropped at any moment.
    /// Before the first success, each price is 1.
    #[test]
    fn a_budget_pays_for_what_was_sent_and_for_nothing_else(
        deposit in 0..=1_000_000_u64,
        start in 0..20_u32,
        steps in vec(step(), 0..150),
    ) {
        paused(async {
            let budget = Budget::builder()
                .deposit(deposit as f64 / 1e6)
                .start(start)
                .cap(1_000_000, 1_000_000)
                .price_after_no_response(3)
                .price_after_server_error(2)
                .price_after_throttling(1, 1)
                .build()
                .unwrap();
            let wait = Backoff::constant(Duration::from_millis(50)).with_jitter(Jitter::None);
            let layer = RetryLayer::new()
                .with_max_attempts(4)
.unwrap()
                .with_backoff(wait)
                .with_throttled_backoff(wait)
                .with_budget(budget.clone());
            let leaf = Leaf::default();
            let mut calls = Calls::new(layer.layer(leaf.clone()), true);
            let mut replies = BTreeMap::new();
            let (mut had, mut spent, mut retries) = (u64::from(start) * 1_000_000, 0, 0);
            let mut is_new = true;
            for step in steps {
                match step {
                    Step::Call { ref script, .. } => calls.call(request(1, 0, script)),
                    Step::Drop(index) => calls.drop_one(index),
                    Step::Sleep(millis) => sleep(Duration::from_millis(millis)).await,
                    _ => {}
                }
                calls.settle();
                for sent in leaf.news() {
                    is_new &= sent.reply != Reply::Status(200);
                    let price = match sent.reply {
                        _ if is_new => 1_000_000,
                        Reply::Status(429) => 1_000_000,
                        Reply::Status(_) => 2_000_000,
                        _ => 3_000_000,
                    };
                    let before = replies.insert(sent.call, price);
                    let price = before.unwrap_or_default();
                    assert_eq!(before.is_some(), sent.attempt > 1);
                    spent += price;
                    retries += u64::from(before.is_some());
                    had += if sent.reply == Reply::Status(200) { deposit } else { 0 };
                }
                assert!(spent <= had, "{spent} of {had}");
                let balance = (budget.balance() * 1e6).round() as u64;
                assert!(balance <= had - spent);
            }
            calls.drop_all();
            assert_eq!((budget.balance() * 1e6).round() as u64, had - spent);
            assert_eq!(budget.retries(), retries);
        });
    }

    /// Stacked, the layers keep all these promises together.
    #[test]
    fn a_stack_keeps_what_its_layers_promise(
        start in (5..60_u32, 1..7_u32),
        steps in vec(step(), 0..120),
        prompt: bool,
        drained: bool,
    ) {
        paused(async {
            let bucket = Bucket::new(rate(start.0, start.1)).with_jitter(Duration::ZERO);
            let limiter = Limiter::new(3).unwrap();
            let budget = Budget::builder().deposit(0.2).start(30).cap(30, 30).build().unwrap();
            let limits = Stack::new(
                ThrottleLayer::from(bucket.clone()).without_hints(),
                ConcurrencyLimitLayer::from(limiter.clone()),
            );
            let retry = RetryLayer::new().with_budget(budget.clone());
            let leaf = Leaf::default();
            let mut calls = Calls::new(Stack::new(limits, retry).layer(leaf.clone()), prompt);
            let mut model = Model::new(start.0, start.1);
            let mut most = 3;
            for step in steps {
                match step {
                    Step::Call { mut script, .. } => {
                        // A call that never gets an answer would never end.
                        script.retain(|reply| *reply != Reply::Never);
                        calls.call(request(1, 0, &script));
                    }
                    Step::Poll(index) => calls.poll_one(index),
                    Step::Drop(index) => calls.drop_one(index),
                    Step::DropResponse(index) => calls.drop_response(index),
                    Step::Sleep(millis) => sleep(Duration::from_millis(millis)).await,
                    Step::SetRate(tokens, burst) => {
                        bucket.set_rate(rate(tokens, burst));
                        model.set_rate(tokens, burst);
                    }
                    Step::SetLimit(permits) => {
                        limiter.set_limit(permits).unwrap();
                        most = most.max(permits);
                    }
                    Step::Close(millis) => {
                        let opens = Instant::now() + Duration::from_millis(millis);
                        bucket.close_until(opens);
                        model.close_until(opens);
                    }
                }
                if prompt {
                    calls.settle();
                }
                leaf.news().into_iter().for_each(|sent| model.send(sent));
                assert!(limiter.in_flight() <= most);
                assert!(limiter.in_flight() >= bucket.waiting());
                assert!(budget.balance() >= 0.0);
            }
            if drained {
                calls.drain(|| {}).await;
            }
            calls.drop_all();
            assert_eq!((limiter.in_flight(), limiter.waiting(), bucket.waiting()), (0, 0, 0));
            sleep(Duration::from_secs(10)).await;
            assert_eq!(bucket.available(), model.burst);
        });
    }
}
