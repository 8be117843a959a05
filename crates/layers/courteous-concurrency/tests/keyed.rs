//! Limits with a key.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    hash::Hash,
    pin::pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use common::{Echo, call, limit, reason};
use courteous_concurrency::{
    ConcurrencyLimitLayer, Keyed, Labels, LimitSnapshot, Limiter, Partition, PerOrigin,
};
use courteous_core::{Origin, RejectReason, RequestView};
use courteous_testkit::assert_ends;
use http::{HeaderValue, Request};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{Layer, Service};

fn to(uri: &str) -> Request<()> {
    Request::builder().uri(uri).body(()).unwrap()
}

fn origin(uri: &str) -> Origin {
    RequestView::of(&to(uri)).origin()
}

fn user(user: usize) -> Request<()> {
    Request::builder().header("user", user).body(()).unwrap()
}

type User = Option<HeaderValue>;
type KeyOf = fn(RequestView<'_>) -> User;

/// A limiter for each user.
fn users(limit: usize) -> Keyed<User, KeyOf> {
    Keyed::new(Limiter::new(limit).unwrap(), user_of)
}

fn origins(limit: usize) -> PerOrigin {
    Keyed::per_origin(Limiter::new(limit).unwrap())
}

/// In flight and waiting.
fn calls_of<K: Eq + Hash, F>(keyed: &Keyed<K, F>, key: &K) -> (usize, usize) {
    let limiter = keyed.get(key);
    limiter.map_or((0, 0), |limiter| (limiter.in_flight(), limiter.waiting()))
}

fn user_of(request: RequestView<'_>) -> Option<HeaderValue> {
    request.headers().get("user").cloned()
}

#[tokio::test(start_paused = true)]
async fn origins_do_not_limit_each_other() {
    let limiters = origins(1);
    let mut service = ConcurrencyLimitLayer::of(limiters.clone()).layer(Echo);
    let first = assert_ready_ok!(task::spawn(service.call(to("http://a.example/1"))).poll());
    let mut second = task::spawn(service.call(to("http://A.example/2")));
    assert_pending!(second.poll());
    let other = assert_ready_ok!(task::spawn(service.call(to("http://b.example/1"))).poll());
    let a = origin("http://a.example");
    assert_eq!(calls_of(&limiters, &a), (1, 1));
    assert_eq!((limiters.in_flight(), limiters.waiting()), (2, 1));
    drop(other);
    assert!(!second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_ready_ok!(second.poll());
    assert_eq!((limiters.in_flight(), limiters.waiting()), (0, 0));
    assert!(limiters.get(&origin("http://c.example")).is_none());
}

#[tokio::test(start_paused = true)]
async fn one_set_of_limiters_serves_several_stacks() {
    let limiters = users(1);
    let mut one = ConcurrencyLimitLayer::of(limiters.clone()).layer(Echo);
    let mut two = ConcurrencyLimitLayer::of(limiters).fail_fast().layer(Echo);
    let _first = assert_ready_ok!(task::spawn(one.call(user(1))).poll());
    let rejected = assert_ready!(task::spawn(two.call(user(1))).poll());
    assert_eq!(reason(rejected), Some(RejectReason::AtCapacity));
    assert_ready_ok!(task::spawn(two.call(user(2))).poll());
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_all_keys_can_be_changed() {
    let limiters = users(1);
    let mut service = ConcurrencyLimitLayer::of(limiters.clone()).layer(Echo);
    let _first = assert_ready_ok!(task::spawn(service.call(user(1))).poll());
    let mut second = task::spawn(service.call(user(1)));
    assert_pending!(second.poll());
    limiters.set_limit(2).unwrap();
    assert_eq!(limiters.limit(), limit(2));
    assert!(second.is_woken());
    let _second = assert_ready_ok!(second.poll());
    let _other = assert_ready_ok!(task::spawn(service.call(user(2))).poll());
    let _other = assert_ready_ok!(task::spawn(service.call(user(2))).poll());
    assert_pending!(task::spawn(service.call(user(2))).poll());
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_not_in_use_are_forgotten() {
    let limiters = users(1);
    let mut service = ConcurrencyLimitLayer::of(limiters.clone()).layer(Echo);
    let held = assert_ready_ok!(task::spawn(service.call(user(usize::MAX))).poll());
    let mut waiting = task::spawn(service.call(user(usize::MAX)));
    assert_pending!(waiting.poll());
    let mut most = 0;
    for number in 0..100_000 {
        assert_ready_ok!(task::spawn(service.call(user(number))).poll());
        most = most.max(limiters.len());
    }
    assert!(most <= 65, "{most}");
    // The key in use is still there, with its waiter.
    let key = Some(HeaderValue::from(usize::MAX));
    assert_eq!(calls_of(&limiters, &key), (1, 1));
    drop(held);
    assert_ready_ok!(waiting.poll());
}

#[tokio::test(start_paused = true)]
async fn a_key_with_nothing_but_a_waiter_outside_of_the_line_is_in_use() {
    let limiters = users(1);
    let layer = ConcurrencyLimitLayer::of(limiters.clone());
    let mut service = layer.layer(Echo);
    let held = assert_ready_ok!(task::spawn(service.call(user(7))).poll());
    let (gated, door) = common::Gated::new(0);
    let mut waiting = task::spawn(layer.layer(gated).call(user(7)));
    assert_pending!(waiting.poll());
    drop(held);
    // The call now waits for its clone to be ready, without a permit.
    assert_pending!(waiting.poll());
    for number in 100..300 {
        assert_ready_ok!(task::spawn(service.call(user(number))).poll());
    }
    let key = Some(HeaderValue::from(7));
    assert_eq!(calls_of(&limiters, &key).1, 1);
    door.open(1);
    let _held = assert_ready_ok!(waiting.poll());
    assert_eq!(calls_of(&limiters, &key).0, 1);
}

#[cfg(feature = "load")]
#[tokio::test(start_paused = true)]
async fn the_load_is_what_is_in_flight_and_waiting_for_all_keys() {
    use tower::load::Load;

    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .keyed_by(user_of)
        .layer(Echo);
    let _one = assert_ready_ok!(task::spawn(service.call(user(1))).poll());
    let _two = assert_ready_ok!(task::spawn(service.call(user(2))).poll());
    let mut waiting = task::spawn(service.call(user(2)));
    assert_pending!(waiting.poll());
    assert_eq!(service.load(), 3);
    drop(waiting);
    assert_eq!(service.load(), 2);
    let mut unkeyed = ConcurrencyLimitLayer::new(1).unwrap().layer(Echo);
    let _one = assert_ready_ok!(call(&mut unkeyed).poll());
    let _waiting = call(&mut unkeyed);
    assert_eq!(unkeyed.load(), 2);
}

#[tokio::test(start_paused = true)]
async fn with_all_keys_in_use_another_one_shares_a_limiter_until_one_is_not() {
    let limiters = users(1).with_max_keys(limit(100));
    let mut service = ConcurrencyLimitLayer::of(limiters.clone()).layer(Echo);
    let mut held: Vec<_> = (0..100)
        .map(|number| assert_ready_ok!(task::spawn(service.call(user(number))).poll()))
        .collect();
    let shared = assert_ready_ok!(task::spawn(service.call(user(100))).poll());
    let mut second = task::spawn(service.call(user(100)));
    assert_pending!(second.poll());
    assert_eq!((limiters.in_flight(), limiters.waiting()), (101, 1));
    assert_eq!(limiters.len(), 100);
    // A known key is served as before.
    let mut waiting = task::spawn(service.call(user(7)));
    assert_pending!(waiting.poll());
    held.remove(7);
    drop(waiting);
    // There is room now. But a call of the key may be in flight with the limiter that it shares.
    assert_pending!(task::spawn(service.call(user(100))).poll());
    drop(shared);
    drop(assert_ready_ok!(second.poll()));
    let _own = assert_ready_ok!(task::spawn(service.call(user(100))).poll());
    let key = Some(HeaderValue::from(100));
    assert_eq!((calls_of(&limiters, &key).0, limiters.len()), (1, 100));
}

#[tokio::test(start_paused = true)]
async fn requests_without_an_origin_share_one() {
    let mut service = ConcurrencyLimitLayer::per_origin(1).unwrap().layer(Echo);
    let _first = assert_ready_ok!(call(&mut service).poll());
    assert_pending!(call(&mut service).poll());
}

#[test]
fn keys_leave_what_else_was_set() {
    let mut service = ConcurrencyLimitLayer::new(1)
        .unwrap()
        .fail_fast()
        .reject_with(|_| {
            http::Response::builder()
                .status(503)
                .body(Default::default())
                .unwrap()
        })
        .keyed_by(user_of)
        .layer(Echo);
    let _first = assert_ready_ok!(task::spawn(service.call(user(1))).poll());
    let rejected = assert_ready_ok!(task::spawn(service.call(user(1))).poll());
    assert_eq!(rejected.status(), 503);
    assert_ready_ok!(task::spawn(service.call(user(2))).poll());
}

/// Changes the limit when it is woken.
struct Changer(Keyed<User, KeyOf>);

impl Wake for Changer {
    fn wake(self: Arc<Self>) {
        self.0.set_limit(3).unwrap();
    }
}

#[test]
fn a_waker_may_change_the_limit_that_another_change_wakes_it_for() {
    assert_ends(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(async {
            let limiters = users(1);
            let mut service = ConcurrencyLimitLayer::of(limiters.clone()).layer(Echo);
            let _held = assert_ready_ok!(task::spawn(service.call(user(7))).poll());
            let waker = Waker::from(Arc::new(Changer(limiters.clone())));
            let mut waiting = pin!(service.call(user(7)));
            assert_pending!(waiting.as_mut().poll(&mut Context::from_waker(&waker)));
            limiters.set_limit(2).unwrap();
            assert_eq!(limiters.limit(), limit(3));
            waiting.await.unwrap();
        });
    });
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_the_busiest_origins() {
    let limiters = origins(2);
    let layer = ConcurrencyLimitLayer::of(limiters.clone());
    let mut service = layer.clone().layer(Echo);
    let mut held = Vec::new();
    for host in 0..20 {
        let mut first = task::spawn(service.call(to(&format!("http://a{host}.test/"))));
        held.push(assert_ready_ok!(first.poll()));
    }
    for _ in 0..2 {
        let mut call = task::spawn(service.call(to("https://me:word@full.test/")));
        held.push(assert_ready_ok!(call.poll()));
    }
    let mut waiting = task::spawn(service.call(to("https://full.test/")));
    assert_pending!(waiting.poll());

    let snapshot = layer.snapshot().unwrap();
    assert_eq!(
        (snapshot.limit, snapshot.keys, snapshot.full),
        (2, Some(21), 1)
    );
    assert_eq!((snapshot.in_flight, snapshot.waiting), (22, 1));
    assert_eq!(snapshot.partitions.len(), LimitSnapshot::MAX_PARTITIONS);
    let busiest = &snapshot.partitions[0];
    assert_eq!(busiest.key.as_deref(), Some("https://full.test"));
    assert_eq!((busiest.in_flight, busiest.waiting), (2, 1));
    assert!(!format!("{snapshot:?}").contains("word"));
    assert_eq!(
        (limiters.snapshot(), service.snapshot()),
        (snapshot.clone(), Some(snapshot))
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_other_keys_only_as_the_labels_say() {
    let limiters = users(1);
    let mut service = ConcurrencyLimitLayer::of(limiters.clone()).layer(Echo);
    let held = assert_ready_ok!(task::spawn(service.call(user(4711))).poll());
    let snapshot = limiters.snapshot();
    assert_eq!(
        format!("{snapshot:?}"),
        "LimitSnapshot { limit: 1, keys: 1, in_flight: 1, waiting: 0, full: 1, \
         partitions: [PartitionSnapshot { in_flight: 1, waiting: 0 }] }"
    );
    let labels = Labels::new(|user: &Option<HeaderValue>| format!("{} users", user.iter().count()));
    let snapshot = limiters.with_labels(labels).snapshot();
    assert_eq!(snapshot.partitions[0].key.as_deref(), Some("1 users"));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_one_limiter_has_no_keys() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(Echo);
    let held = assert_ready_ok!(call(&mut service).poll());
    assert_pending!(call(&mut service).poll());
    let shown = "LimitSnapshot { limit: 1, in_flight: 1, waiting: 0, full: 1, partitions: [] }";
    assert_eq!(format!("{:?}", limiter.snapshot()), shown);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_whose_handle_is_kept_is_not_forgotten() {
    let limiters = users(1).with_max_keys(limit(1));
    let mut service = ConcurrencyLimitLayer::of(limiters.clone()).layer(Echo);
    // This handle may admit a call at any time.
    let selected = limiters.select(RequestView::of(&user(1)));
    let _shared = assert_ready_ok!(task::spawn(service.call(user(2))).poll());
    let key = Some(HeaderValue::from(1));
    let mut one = ConcurrencyLimitLayer::from(selected.clone()).layer(Echo);
    let held = assert_ready_ok!(task::spawn(one.call(user(1))).poll());
    assert_pending!(task::spawn(service.call(user(1))).poll());
    drop(held);
    drop((one, selected));
    // Nothing uses it any more, so another key takes its place.
    assert_ready_ok!(task::spawn(service.call(user(3))).poll());
    assert!(limiters.get(&key).is_none());
    assert_eq!(limiters.len(), 1);
}

/// Has one limiter for each of two kinds of requests.
#[derive(Clone)]
struct ByMethod(Limiter, Limiter);

impl Partition for ByMethod {
    fn select(&self, head: RequestView<'_>) -> Limiter {
        match head.method().is_safe() {
            true => self.0.clone(),
            false => self.1.clone(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_of_ones_own_says_which_limiter_a_request_uses() {
    let [safe, unsafe_] = [2, 1].map(|limit| Limiter::new(limit).unwrap());
    let layer = ConcurrencyLimitLayer::of(ByMethod(safe, unsafe_.clone()));
    let mut service = layer.layer(Echo);
    let post = || Request::post("http://a.example").body(()).unwrap();
    let _one = assert_ready_ok!(task::spawn(service.call(post())).poll());
    assert_pending!(task::spawn(service.call(post())).poll());
    let _two = assert_ready_ok!(task::spawn(service.call(to("http://a.example"))).poll());
    assert_eq!(unsafe_.in_flight(), 1);
    // It tells nothing, and has no single limit.
    assert_eq!((layer.snapshot(), layer.settings().limit), (None, None));
    let error = layer.set_limit(3).unwrap_err();
    let expected = "`limit`: the limit of this partition cannot be set";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_layer_sets_the_limit_of_all_keys() {
    let layer = ConcurrencyLimitLayer::per_origin(1).unwrap();
    let mut service = layer.layer(Echo);
    let _first = assert_ready_ok!(task::spawn(service.call(to("http://a.example"))).poll());
    let mut second = task::spawn(service.call(to("http://a.example")));
    assert_pending!(second.poll());
    layer.set_limit(2).unwrap();
    assert!(second.is_woken());
    let _second = assert_ready_ok!(second.poll());
    assert_eq!(layer.settings().limit, Some(limit(2)));
    assert_eq!(layer.snapshot().unwrap().limit, 2);
}
