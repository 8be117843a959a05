//! Tests of waiters, and of the reasons for which they are rejected.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use courteous_testkit::assert_ends;
use courteous_throttle::{Cost, Settle, ThrottleLayer};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};

use super::*;

#[test]
fn what_costs_more_than_a_lease_can_hold_is_rejected_at_once() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 100, 20).await;
        let most = bucket.max_cost();
        assert_eq!(most, 8);
        let ask = |cost| Ask::new(NonZeroU32::new(cost).unwrap());
        let Take::Rejected(rejected) = bucket.take(&ask(most + 1)) else {
            panic!("too dear");
        };
        assert_eq!(rejected.reason(), RejectReason::CostAboveBurst);
        assert_eq!(
            (rejected.cost(), rejected.max_cost()),
            (Some(most + 1), Some(most))
        );
        assert_eq!(rejected.rate(), Some(bucket.rate()));
        // The dearest call gets through, in its turn, in a crowd of cheap calls.
        let mut tasks = JoinSet::new();
        crowd(&bucket, &Sent::default(), 20, &mut tasks);
        sleep(ms(500)).await;
        let sent = Sent::default();
        timeout(ms(1_000), send(&bucket, &ask(most), &sent, Duration::ZERO))
            .await
            .unwrap()
            .unwrap();
    });
}

#[test]
fn a_cost_is_addressed_by_the_handle_and_one_of_zero_needs_no_slot() {
    paused(async {
        let redis = redis();
        let bucket = RedisBucket::new(&redis.open(), "costs", rate(100, 20));
        let other = RedisBucket::new(&redis.open(), "others", rate(100, 20));
        let layer = ThrottleLayer::of(bucket.clone());
        let answer = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
        let call = |cost: Cost| {
            let mut request = Request::new(());
            request.extensions_mut().insert(cost);
            timeout(ms(2_000), layer.layer(answer).oneshot(request))
        };
        // Redis was never asked.
        call(Cost::new(0).on(&bucket)).await.unwrap().unwrap();
        assert_eq!(bucket.gauges().calls(), 0);
        let most = bucket.max_cost();
        let response = call(Cost::new(most).on(&bucket)).await.unwrap().unwrap();
        assert!(Settle::of(&response).is_none(), "it cannot be settled");
        let error = call(Cost::new(most + 1).on(&bucket)).await.unwrap();
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("holds at most {most}")), "{error}");
        // This cost is not addressed to the bucket.
        call(Cost::new(most + 1).on(&other)).await.unwrap().unwrap();
    });
}

#[test]
fn the_slot_of_a_dropped_waiter_goes_to_the_next() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 5).await;
        sleep(ms(2_000)).await;
        let mut waiters: Vec<_> = (0..4)
            .map(|_| match bucket.take(&one()) {
                Take::Wait(turn) => Box::pin(turn),
                _ => panic!("there is no lease"),
            })
            .collect();
        for waiter in &mut waiters {
            let polled = std::future::poll_fn(|cx| waiter.as_mut().poll(cx));
            timeout(ms(2_000), polled).await.unwrap().unwrap();
        }
        let calls = bucket.gauges().calls();
        waiters.clear();
        assert!(matches!(bucket.take(&one()), Take::Taken));
        assert_eq!(bucket.gauges().calls(), calls);
    });
}

#[test]
fn a_waiter_that_is_not_polled_loses_its_slot_and_holds_up_nobody() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 1).await;
        let Take::Wait(turn) = bucket.take(&one()) else {
            panic!("there is no lease");
        };
        let mut turn = pin!(turn);
        std::future::poll_fn(|cx| turn.as_mut().poll(cx))
            .await
            .unwrap();
        let sent = Sent::default();
        for _ in 0..3 {
            let ask = one();
            let next = send(&bucket, &ask, &sent, Duration::ZERO);
            timeout(ms(500), next).await.unwrap().unwrap();
        }
        assert!(!turn.as_mut().spend());
        std::future::poll_fn(|cx| turn.as_mut().poll(cx))
            .await
            .unwrap();
        assert!(turn.as_mut().spend());
    });
}

#[test]
fn the_strictest_rate_is_in_force_until_nobody_states_it() {
    paused(async {
        let redis = redis();
        let fast = RedisBucket::new(&redis.open(), "disputed", rate(100, 10));
        let slow = RedisBucket::new(&redis.open(), "disputed", rate(10, 5));
        let mut tasks = JoinSet::new();
        let sent = Sent::default();
        crowd(&fast, &sent, 20, &mut tasks);
        sleep(ms(2_000)).await;
        assert_eq!(fast.gauges().rates(), 1);
        assert_eq!(fast.effective_rate().interval(), ms(10));
        send(&slow, &one(), &sent, Duration::ZERO).await.unwrap();
        let start = Instant::now();
        sleep(ms(3_000)).await;
        assert_eq!(fast.gauges().rates(), 2);
        assert_eq!(fast.effective_rate().interval(), ms(100));
        assert!(sent.since(start) <= 35, "{}", sent.since(start));
        sleep(ms(5_000)).await;
        assert_eq!(fast.gauges().rates(), 1);
        let start = Instant::now();
        sleep(ms(2_000)).await;
        assert!(sent.since(start) >= 190);
    });
}

#[test]
fn failing_fast_gets_through_all_the_same() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 2).await;
        let (mut sent, start) = (0, Instant::now());
        while start.elapsed() < ms(5_000) {
            match bucket.take(&one().with_max_waiting(0)) {
                Take::Taken => sent += 1,
                Take::Rejected(rejected) => assert_eq!(rejected.reason(), RejectReason::AtCapacity),
                Take::Wait(_) => panic!("it must not wait"),
            }
            sleep(ms(10)).await;
        }
        assert!(sent >= 40, "{sent}");
    });
}

#[test]
fn a_wait_that_is_certain_to_end_too_late_is_rejected_at_once() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 10, 5).await;
        let mut tasks = JoinSet::new();
        crowd(&bucket, &Sent::default(), 20, &mut tasks);
        sleep(ms(2_000)).await;
        let start = Instant::now();
        let ask = one().with_latest(start + ms(1_500), RejectReason::MaxWait);
        let rejected = send(&bucket, &ask, &Sent::default(), Duration::ZERO).await;
        assert_eq!(
            (rejected, start.elapsed()),
            (Err(RejectReason::MaxWait), ms(0))
        );
    });
}

/// Reads the bucket when it is woken and when it is dropped.
struct Reader(RedisBucket);

impl Wake for Reader {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.waiting();
    }
}

#[test]
fn a_waker_may_use_the_bucket_at_which_its_task_waits() {
    assert_ends(|| {
        paused(async {
            let redis = redis();
            let bucket = warm(&redis, 10, 1).await;
            let Take::Wait(turn) = bucket.take(&one()) else {
                panic!("there is no lease");
            };
            let mut turn = Box::pin(turn);
            // The second waker takes the place of the first, and goes with the waiter.
            for _ in 0..2 {
                let waker = Waker::from(Arc::new(Reader(bucket.clone())));
                let polled = turn.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
            }
            drop(turn);
            assert_eq!(bucket.waiting(), 0);
        });
    });
}
