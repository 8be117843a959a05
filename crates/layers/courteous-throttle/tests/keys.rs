//! The guarantees of a throttle with a bucket for each key.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::{
    num::{NonZeroU32, NonZeroUsize},
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Wake, Waker},
    time::Duration,
};

use courteous_core::{Gate, RequestView};
use courteous_testkit::assert_ends;
use courteous_throttle::{
    Bucket, Cost, Keyed, Labels, Partition, Rate, ThrottleLayer, ThrottleSnapshot,
};
use http::{Request, Uri};
use support::{Sends, ready_call, sec};
use tokio::time::{self, Instant};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::Layer;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn to(uri: &str) -> Request<()> {
    Request::builder().uri(uri).body(()).unwrap()
}

fn id(head: RequestView<'_>) -> u32 {
    head.uri().path()[1..].parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_origin_has_a_bucket_of_its_own() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::per_origin(rate("1/m")).layer(sends.clone());
    for uri in [
        "http://a.test/1",
        "https://a.test/2",
        "http://b.test/3",
        "http://a.test:81/4",
    ] {
        assert_ready_ok!(task::spawn(ready_call(&mut service, to(uri))).poll());
    }
    for uri in [
        "http://A.test:80/",
        "https://a.test:443/",
        "http://u:p@b.test/",
    ] {
        assert_pending!(task::spawn(ready_call(&mut service, to(uri))).poll());
    }
    assert_eq!(service.partition().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_429_closes_only_its_own_key() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::per_origin(rate("1/s")).layer(sends.clone());
    sends.answer(429, &[("retry-after", "60")]);
    ready_call(&mut service, to("http://a.test/1"))
        .await
        .unwrap();
    let start = Instant::now();
    for _ in 0..5 {
        ready_call(&mut service, to("http://b.test/2"))
            .await
            .unwrap();
    }
    assert_eq!(start.elapsed(), sec(4));
    let a = Uri::from_static("http://a.test/");
    let request = Request::builder().uri(a).body(()).unwrap();
    let origin = RequestView::of(&request).origin();
    let bucket = service.partition().get(&origin).unwrap();
    assert_eq!(bucket.closed_until(), Some(start + sec(60)));
}

#[test]
fn an_origin_may_come_from_the_host_field() {
    let mut request = to("/path");
    assert_eq!(RequestView::of(&request).origin().authority(), None);
    request
        .headers_mut()
        .insert("host", "a.test:8080".parse().unwrap());
    let origin = RequestView::of(&request).origin();
    assert_eq!(origin.authority().unwrap(), "a.test:8080");
    assert_eq!(origin.scheme(), None);
}

#[tokio::test(start_paused = true)]
async fn idle_keys_are_forgotten_and_the_others_are_not() {
    let sends = Sends::default();
    let keyed = Keyed::new(Bucket::new(rate("1000/s")), id);
    let mut service = ThrottleLayer::from(keyed.clone()).layer(sends.clone());
    let start = Instant::now();
    for id in 0..200_000 {
        ready_call(&mut service, to(&format!("/{id}")))
            .await
            .unwrap();
        if id % 100 == 0 {
            time::advance(Duration::from_millis(10)).await;
        }
        assert!(keyed.len() <= 10_000);
    }
    assert!(keyed.len() < 1_000, "{}", keyed.len());
    assert_eq!(start.elapsed(), sec(20));
}

#[tokio::test(start_paused = true)]
async fn a_debt_is_not_forgotten_however_many_keys_come() {
    let sends = Sends::default();
    let keyed =
        Keyed::new(Bucket::new(rate("1/m")), id).with_max_keys(NonZeroUsize::new(100).unwrap());
    let mut service = ThrottleLayer::from(keyed.clone()).layer(sends.clone());
    for id in 0..100 {
        assert_ready_ok!(task::spawn(ready_call(&mut service, to(&format!("/{id}")))).poll());
    }
    time::sleep(sec(30)).await;
    // A key without room is served at once, at its rate, and takes nothing from the others.
    assert_ready_ok!(task::spawn(ready_call(&mut service, to("/100"))).poll());
    assert_pending!(task::spawn(ready_call(&mut service, to("/100"))).poll());
    assert!(keyed.get(&100).is_none());
    // A known key is served as before.
    let mut waiting = task::spawn(ready_call(&mut service, to("/7")));
    assert_pending!(waiting.poll());
    keyed
        .get(&8)
        .unwrap()
        .close_until(Instant::now() + sec(600));
    time::sleep(sec(60)).await;
    // All keys but the two in use give way to new keys, which are in use then.
    for id in 100..198 {
        assert_ready_ok!(task::spawn(ready_call(&mut service, to(&format!("/{id}")))).poll());
    }
    assert_ready_ok!(task::spawn(ready_call(&mut service, to("/198"))).poll());
    assert_eq!(keyed.len(), 100);
    assert!(keyed.get(&197).is_some() && keyed.get(&198).is_none());
    assert!(keyed.get(&7).is_some() && keyed.get(&8).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_response_is_awaited_is_not_forgotten() {
    let keyed =
        Keyed::new(Bucket::new(rate("1/s")), id).with_max_keys(NonZeroUsize::new(1).unwrap());
    let mut service = ThrottleLayer::from(keyed.clone()).layer(Sends::default());
    let call = ready_call(&mut service, to("/1"));
    time::sleep(sec(9)).await;
    // What the response says must reach the bucket that the next call finds.
    assert_ready_ok!(task::spawn(ready_call(&mut service, to("/2"))).poll());
    assert!(keyed.get(&1).is_some() && keyed.get(&2).is_none());
    drop(call);
    time::sleep(sec(1)).await;
    assert_ready_ok!(task::spawn(ready_call(&mut service, to("/2"))).poll());
    assert!(keyed.get(&2).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_gets_room_does_not_get_its_burst_twice() {
    let keyed =
        Keyed::new(Bucket::new(rate("1/m")), id).with_max_keys(NonZeroUsize::new(1).unwrap());
    let mut service = ThrottleLayer::from(keyed.clone()).layer(Sends::default());
    assert_ready_ok!(task::spawn(ready_call(&mut service, to("/1"))).poll());
    time::sleep(sec(59)).await;
    // The key has no room, and its call is sent at once. A second later, the key gets a bucket of
    // its own, which knows of that call.
    assert_ready_ok!(task::spawn(ready_call(&mut service, to("/2"))).poll());
    time::sleep(sec(1)).await;
    let start = Instant::now();
    ready_call(&mut service, to("/2")).await.unwrap();
    assert_eq!(start.elapsed(), sec(60));
    assert!(keyed.get(&2).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_to_a_key_without_room_does_not_hold_for_others() {
    let unnamed = &[("retry-after", "60")][..];
    let named = &[("retry-after", "60"), ("ratelimit", "\"q\";r=0;t=60")];
    for refusal in [unnamed, named] {
        let sends = Sends::default();
        let keyed = Keyed::per_origin(Bucket::new(Rate::UNLIMITED))
            .with_max_keys(NonZeroUsize::new(4).unwrap());
        let mut service = ThrottleLayer::from(keyed.clone()).layer(sends.clone());
        for name in ["a.one.test", "b.one.test"] {
            sends.answer(429, refusal);
            let response = ready_call(&mut service, to(&format!("http://{name}/"))).await;
            // A retry outside is told of the pause nevertheless.
            assert!(response.unwrap().extensions().get::<Gate>().is_some());
        }
        assert_eq!(keyed.len(), 1);
        assert_pending!(task::spawn(ready_call(&mut service, to("http://a.one.test/"))).poll());
        for name in ["b.one.test", "c.one.test"] {
            let uri = format!("http://{name}/");
            assert_ready_ok!(task::spawn(ready_call(&mut service, to(&uri))).poll());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_may_be_anything_in_the_request() {
    let mut service = ThrottleLayer::new(rate("1/m"))
        .keyed_by(|head| head.headers().get("authorization").cloned())
        .layer(Sends::default());
    let by = |who: &str| {
        let mut request = to("/1");
        request
            .headers_mut()
            .insert("authorization", who.parse().unwrap());
        request
    };
    assert_ready_ok!(task::spawn(ready_call(&mut service, by("a"))).poll());
    assert_ready_ok!(task::spawn(ready_call(&mut service, by("b"))).poll());
    assert_pending!(task::spawn(ready_call(&mut service, by("a"))).poll());
    service.partition().set_rate(rate("1/s"));
    let start = Instant::now();
    ready_call(&mut service, by("a")).await.unwrap();
    assert_eq!(start.elapsed(), sec(1));
}

#[tokio::test(start_paused = true)]
async fn new_keys_can_start_empty() {
    let keyed = Keyed::per_origin(Bucket::new(rate("1/s"))).start_empty();
    let mut service = ThrottleLayer::from(keyed).layer(Sends::default());
    assert_pending!(task::spawn(ready_call(&mut service, to("http://a.test/1"))).poll());
}

#[tokio::test(start_paused = true)]
async fn a_key_with_a_rate_of_its_own_is_not_forgotten() {
    let keyed =
        Keyed::new(Bucket::new(rate("1/s")), id).with_max_keys(NonZeroUsize::new(2).unwrap());
    let mut service = ThrottleLayer::from(keyed.clone()).layer(Sends::default());
    for uri in ["/1", "/2"] {
        assert_ready_ok!(task::spawn(ready_call(&mut service, to(uri))).poll());
    }
    keyed.get(&1).unwrap().set_rate(rate("1/h"));
    time::sleep(sec(2 * 60 * 60)).await;
    assert_ready_ok!(task::spawn(ready_call(&mut service, to("/3"))).poll());
    assert_eq!(keyed.get(&1).unwrap().rates(), [rate("1/h")]);
    assert!(keyed.get(&2).is_none());
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Changes the rate when it is woken.
struct Changer(Keyed<u32, fn(RequestView<'_>) -> u32>);

impl Wake for Changer {
    fn wake(self: Arc<Self>) {
        self.0.set_rate(rate("2/s"));
    }
}

#[test]
fn a_waker_may_change_the_rate_that_another_change_wakes_it_for() {
    assert_ends(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(async {
            let keyed = Keyed::new(Bucket::new(rate("1/h")), id as fn(RequestView<'_>) -> u32);
            let layer = ThrottleLayer::from(keyed.clone()).with_max_wait(2 * HOUR);
            let mut service = layer.layer(Sends::default());
            assert_ready_ok!(task::spawn(ready_call(&mut service, to("/1"))).poll());
            let waker = Waker::from(Arc::new(Changer(keyed.clone())));
            let mut waiting = pin!(ready_call(&mut service, to("/1")));
            assert_pending!(waiting.as_mut().poll(&mut Context::from_waker(&waker)));
            // The wait becomes too long, so the waiter is woken.
            keyed.set_rate(Rate::new(1, 9 * HOUR).unwrap());
            assert_eq!(keyed.get(&1).unwrap().rates(), [rate("2/s")]);
            waiting.await.unwrap_err();
        });
    });
}

#[test]
fn a_waker_of_a_call_on_the_template_may_use_the_keys() {
    assert_ends(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(async {
            let template = Bucket::new(rate("1/h"));
            let keyed = Keyed::new(template.clone(), id as fn(RequestView<'_>) -> u32);
            let layer = ThrottleLayer::from(template).with_max_wait(2 * HOUR);
            let mut service = layer.layer(Sends::default());
            assert_ready_ok!(task::spawn(ready_call(&mut service, to("/1"))).poll());
            let waker = Waker::from(Arc::new(Changer(keyed.clone())));
            let mut waiting = pin!(ready_call(&mut service, to("/1")));
            assert_pending!(waiting.as_mut().poll(&mut Context::from_waker(&waker)));
            keyed.set_rate(Rate::new(1, 9 * HOUR).unwrap());
            assert_eq!(keyed.snapshot().rates, [rate("2/s")]);
            waiting.await.unwrap_err();
        });
    });
}

#[tokio::test(start_paused = true)]
async fn keys_are_forgotten_after_the_rate_of_the_template_alone_was_changed() {
    let [requests, tokens] = Bucket::joint([rate("60/min"), rate("90000/min burst 100")]);
    let max = NonZeroUsize::new(2).unwrap();
    let keyed = Keyed::new(requests, id).with_max_keys(max);
    let mut service = ThrottleLayer::of(keyed.clone()).layer(Sends::default());
    for uri in ["/1", "/2"] {
        ready_call(&mut service, to(uri)).await.unwrap();
    }
    tokens.set_rate(rate("30000/min burst 50"));
    // A key whose rate was set for it alone keeps that rate.
    keyed.get(&2).unwrap().set_rate(rate("30/min"));
    time::sleep(HOUR).await;
    ready_call(&mut service, to("/3")).await.unwrap();
    assert!(keyed.get(&1).is_none() && keyed.get(&2).is_some());
    let third = keyed.get(&3).unwrap().limit(&tokens).unwrap();
    assert_eq!(third.rates(), [rate("30000/min burst 50")]);
    drop(third);
    // After a rate is set for all keys, key 2 no longer has a rate of its own.
    keyed.set_rate(rate("60/min"));
    time::sleep(HOUR).await;
    ready_call(&mut service, to("/4")).await.unwrap();
    ready_call(&mut service, to("/5")).await.unwrap();
    let known: Vec<_> = (1..=5).filter(|key| keyed.get(key).is_some()).collect();
    assert_eq!(known, [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_gets_its_bucket_while_a_snapshot_is_made() {
    type ById = Keyed<u32, fn(RequestView<'_>) -> u32>;
    static KEYED: OnceLock<ById> = OnceLock::new();
    let keyed = KEYED.get_or_init(|| {
        let labels = Labels::new(|key: &u32| {
            let mut service =
                ThrottleLayer::of(KEYED.get().unwrap().clone()).layer(Sends::default());
            assert_ready_ok!(task::spawn(ready_call(&mut service, to("/3"))).poll());
            key.to_string()
        });
        let template = Bucket::new(rate("1/h"));
        let keyed = Keyed::new(template, id as fn(RequestView<'_>) -> u32).with_labels(labels);
        keyed.with_max_keys(NonZeroUsize::new(2).unwrap())
    });
    let mut service = ThrottleLayer::of(keyed.clone()).layer(Sends::default());
    ready_call(&mut service, to("/2")).await.unwrap();
    time::sleep(HOUR).await;
    ready_call(&mut service, to("/1")).await.unwrap();
    let snapshot = keyed.snapshot();
    assert_eq!(snapshot.buckets[0].key.as_deref(), Some("1"));
    assert!(keyed.get(&2).is_none() && keyed.get(&3).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_a_key_that_is_short_of_any_rate_and_of_which() {
    let burst = NonZeroU32::new(9_000).unwrap();
    let [requests, tokens] = Bucket::joint([rate("60/min"), rate("90000/min").with_burst(burst)]);
    let keyed = Keyed::new(requests, id);
    let mut service = ThrottleLayer::of(keyed.clone()).layer(Sends::default());
    let mut request = to("/1");
    request
        .extensions_mut()
        .insert(Cost::new(9_000).on(&tokens));
    ready_call(&mut service, request).await.unwrap();
    time::advance(sec(1)).await;
    let snapshot = keyed.snapshot();
    assert_eq!(snapshot.rates.len(), 2);
    assert_eq!(snapshot.buckets[0].available, Some(1));
    assert_eq!(snapshot.buckets[0].available_by_rate, Some(vec![1, 1_500]));
    time::advance(sec(10)).await;
    assert!(keyed.snapshot().buckets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_the_origins_that_hold_up_most() {
    let sends = Sends::default();
    let mut service = ThrottleLayer::per_origin(rate("1/min")).layer(sends.clone());
    for host in 0..20 {
        let first = ready_call(&mut service, to(&format!("http://a{host}.test/1")));
        first.await.unwrap();
    }
    sends.answer(429, &[("retry-after", "60")]);
    ready_call(&mut service, to("https://me:word@closed.test/1"))
        .await
        .unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, to("http://a7.test/2")));
    assert_pending!(waiting.poll());

    let snapshot = service.snapshot().unwrap();
    assert_eq!(snapshot.rates, [rate("1/min")]);
    assert_eq!(
        (snapshot.keys, snapshot.waiting, snapshot.closed),
        (Some(21), 1, 1)
    );
    assert_eq!(snapshot.buckets.len(), ThrottleSnapshot::MAX_BUCKETS);
    let (first, second) = (&snapshot.buckets[0], &snapshot.buckets[1]);
    assert_eq!(
        (first.key.as_deref(), first.waiting),
        (Some("http://a7.test"), 1)
    );
    assert_eq!(second.key.as_deref(), Some("https://closed.test"));
    assert_eq!(
        (second.available, second.closed_for),
        (Some(0), Some(sec(60)))
    );
    assert!(!format!("{snapshot:?}").contains("word"));
    time::advance(sec(61)).await;
    assert_eq!(service.snapshot().unwrap().closed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_keys_that_may_be_credentials_only_as_the_labels_say() {
    let key = |head: RequestView<'_>| head.headers()["authorization"].to_str().unwrap().to_owned();
    let bearer = |token: &str| {
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        request.body(()).unwrap()
    };
    let keyed = Keyed::new(Bucket::new(rate("1/min")), key);
    let mut service = ThrottleLayer::of(keyed.clone()).layer(Sends::default());
    for token in ["geheim1", "geheim2"] {
        ready_call(&mut service, bearer(token)).await.unwrap();
    }
    let snapshot = keyed.snapshot();
    assert_eq!((snapshot.keys, snapshot.buckets.len()), (Some(2), 2));
    assert_eq!(snapshot.buckets[0].key, None);
    assert!(!format!("{snapshot:?}{service:?}").contains("geheim"));

    // This runs without the lock, so it may look at the buckets.
    type ByToken = Keyed<String, fn(RequestView<'_>) -> String>;
    static AGAIN: OnceLock<ByToken> = OnceLock::new();
    let again = AGAIN.get_or_init(|| Keyed::new(Bucket::new(rate("1/min")), key));
    let labelled = again.clone().with_labels(Labels::new(|key: &String| {
        format!(
            "{}...{}",
            AGAIN.get().unwrap().len(),
            "é".repeat(key.len() * 100)
        )
    }));
    let mut service = ThrottleLayer::of(labelled.clone()).layer(Sends::default());
    ready_call(&mut service, bearer("geheim1")).await.unwrap();
    let label = labelled.snapshot().buckets[0].key.clone().unwrap();
    assert!(label.starts_with("1...é"), "{label}");
    assert_eq!(label.chars().count(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_what_keys_without_room_share() {
    let keyed = Keyed::new(Bucket::new(rate("1/min")), id).with_max_keys(NonZeroUsize::MIN);
    let mut service = ThrottleLayer::of(keyed.clone()).layer(Sends::default());
    ready_call(&mut service, to("/1")).await.unwrap();
    ready_call(&mut service, to("/2")).await.unwrap();
    let snapshot = keyed.snapshot();
    assert_eq!(snapshot.keys, Some(1));
    let keys = snapshot.buckets.iter().map(|bucket| bucket.key.as_deref());
    assert_eq!(
        keys.collect::<Vec<_>>(),
        [None, Some("(keys without room)")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_one_bucket_is_one_readable_value() {
    let bucket = Bucket::new(rate("10/s burst 5")).and(rate("1000/h burst 3"));
    let mut service = ThrottleLayer::from(bucket.clone()).layer(Sends::default());
    for _ in 0..3 {
        ready_call(&mut service, to("http://a.test/1"))
            .await
            .unwrap();
    }
    let mut waiting = task::spawn(ready_call(&mut service, to("http://a.test/1")));
    assert_pending!(waiting.poll());
    bucket.close_until(Instant::now() + sec(20));
    assert_eq!(
        format!("{:?}", bucket.snapshot()),
        "ThrottleSnapshot { rates: [10/s burst 5, 1000/h burst 3], waiting: 1, closed: 1, \
         buckets: [BucketSnapshot { available: 0, waiting: 1, closed_for: 20s }] }"
    );
    assert_eq!(service.snapshot(), Some(bucket.snapshot()));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_a_quota_that_the_server_says_is_used_up() {
    let sends = Sends::default();
    let bucket = Bucket::new(Rate::UNLIMITED);
    let mut service = ThrottleLayer::from(bucket.clone()).layer(sends.clone());
    sends.answer(200, &[("ratelimit", "\"search\";r=0;t=40")]);
    ready_call(&mut service, to("http://a.test/1"))
        .await
        .unwrap();
    let snapshot = bucket.snapshot();
    assert_eq!(snapshot.closed, 1);
    assert_eq!(snapshot.buckets[0].closed_for, None);
    assert_eq!(snapshot.buckets[0].quota_used_up_for, Some(sec(40)));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_counts_keys_at_rest_and_does_not_show_them() {
    let mut service = ThrottleLayer::per_origin(rate("1/s")).layer(Sends::default());
    ready_call(&mut service, to("http://a.test/1"))
        .await
        .unwrap();
    assert_eq!(service.snapshot().unwrap().buckets.len(), 1);
    time::advance(sec(1)).await;
    let snapshot = service.snapshot().unwrap();
    assert_eq!((snapshot.keys, snapshot.buckets.len()), (Some(1), 0));
}

#[tokio::test(start_paused = true)]
async fn new_rates_of_several_limits_are_told_in_the_order_of_the_limits() {
    let [first, second] = Bucket::joint([rate("1/min"), rate("90/min burst 10")]);
    let first = first.and(rate("10/h"));
    let keyed = Keyed::new(first.clone(), id);
    let told = [rate("1/min"), rate("10/h"), rate("90/min burst 10")];
    assert_eq!(
        (first.snapshot().rates, keyed.snapshot().rates),
        (told.to_vec(), told.to_vec())
    );
    let mut service = ThrottleLayer::of(keyed.clone()).layer(Sends::default());
    ready_call(&mut service, to("/1")).await.unwrap();

    let error = Partition::set_rates(&keyed, &told[..2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 limits with 3 rates cannot have 2: state all of them, in their order"
    );
    let new = [rate("2/min"), rate("20/h"), rate("180/min burst 20")];
    Partition::set_rates(&keyed, &new).unwrap();
    assert_eq!(keyed.snapshot().rates, new);
    let bucket = keyed.get(&1).unwrap();
    assert_eq!(
        (bucket.rates(), bucket.limit(&second).unwrap().rates()),
        (new[..2].to_vec(), vec![new[2]])
    );
    Partition::set_rates(&second, &new).unwrap();
    assert_eq!(
        (first.rates(), second.rates()),
        (new[..2].to_vec(), vec![new[2]])
    );
}

#[tokio::test(start_paused = true)]
async fn new_rates_hold_for_the_keys_that_there_are_and_wake_their_waiters() {
    let keyed = Keyed::per_origin(Bucket::new(rate("1/h")));
    let mut service = ThrottleLayer::of(keyed.clone()).layer(Sends::default());
    ready_call(&mut service, to("http://a.test/1"))
        .await
        .unwrap();
    let mut waiting = task::spawn(ready_call(&mut service, to("http://a.test/2")));
    assert_pending!(waiting.poll());
    let rates = [rate("1/s"), rate("1000/h")];
    Partition::set_rates(&keyed, &rates).unwrap();
    assert_eq!(keyed.snapshot().rates, rates);
    time::sleep(sec(4)).await;
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
}

/// A store whose snapshot takes a pass over all keys.
struct Dear(Bucket);

impl Partition for Dear {
    type Store = Bucket;

    fn select(&self, head: RequestView<'_>) -> Bucket {
        self.0.select(head)
    }

    fn snapshot(&self) -> Option<ThrottleSnapshot> {
        panic!("not for the rates alone")
    }

    fn rates(&self) -> Option<Vec<Rate>> {
        Some(self.0.rates())
    }
}

#[test]
fn settings_are_read_without_a_snapshot() {
    let layer = ThrottleLayer::of(Dear(Bucket::new(rate("5/s"))));
    assert_eq!(layer.settings().rates, Some(vec![rate("5/s")]));
    let (bucket, keyed) = (
        Bucket::new(rate("5/s")),
        Keyed::new(Bucket::new(rate("5/s")), id),
    );
    assert_eq!(Partition::rates(&bucket), Some(vec![rate("5/s")]));
    assert_eq!(Partition::rates(&keyed), Some(vec![rate("5/s")]));
}
