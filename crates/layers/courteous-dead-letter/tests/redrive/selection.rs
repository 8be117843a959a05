use std::{
    convert::Infallible,
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use courteous_dead_letter::{Filter, Letter, Payload, Reason, State, Tags};
use http::{HeaderValue, Method, Request};
use tower::service_fn;

use crate::support::*;

const ONE: NonZeroUsize = NonZeroUsize::MIN;

#[tokio::test]
async fn the_oldest_goes_first_and_each_once_in_a_run() {
    let (clock, store, redrive) = setup();
    let mut expected = Vec::new();
    for age in [3, 1, 4, 2] {
        expected.push(push(&store, letter(&clock, age * HOUR)).await);
    }
    expected.sort();
    let ledger = Ledger::default();
    let summary = redrive
        .with_concurrency(ONE)
        .run(&store, ledger.server(503))
        .await
        .unwrap();
    assert_eq!(summary.failed, 4);
    let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
    assert_eq!(ledger.requests(), expected);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_at_a_time_than_was_said() {
    let (clock, store, redrive) = setup();
    for age in 1..=20 {
        push(&store, letter(&clock, age * SECOND)).await;
    }
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = {
        let most = most.clone();
        service_fn(move |_: Request<Body>| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(SECOND).await;
                now.fetch_sub(1, SeqCst);
                Ok::<_, std::convert::Infallible>(response(200))
            }
        })
    };
    let redrive = redrive.with_concurrency(NonZeroUsize::new(3).unwrap());
    let summary = redrive.run(&store, boxed(server)).await.unwrap();
    assert_eq!((summary.delivered, most.load(SeqCst)), (20, 3));
}

#[tokio::test]
async fn what_is_not_due_is_left_for_later() {
    let (clock, store, redrive) = setup();
    let mut later = letter(&clock, HOUR);
    later.failure.not_before = Some(clock.now() + HOUR);
    let id = push(&store, later).await;
    let ledger = Ledger::default();
    let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!(summary.total(), 0);
    clock.advance(HOUR);
    redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!(state(&store, id).await, DELIVERED);
}

#[tokio::test]
async fn a_keys_life_is_counted_from_the_first_attempt_and_less_the_total_timeout() {
    let (clock, store, redrive) = setup();
    let edge = 23 * HOUR - 30 * SECOND;
    let young = push(&store, letter(&clock, edge)).await;
    let mut recorded_lately = letter(&clock, HOUR);
    recorded_lately.first_at = clock.now() - edge - Duration::from_millis(1);
    let old = push(&store, recorded_lately).await;
    let ledger = Ledger::default();
    let summary = redrive
        .clone()
        .run(&store, ledger.server(200))
        .await
        .unwrap();
    assert_eq!((summary.delivered, summary.expired), (1, 1));
    assert_eq!(state(&store, young).await, DELIVERED);
    let record = get(&store, old).await;
    assert_eq!((record.state, record.redrives), (State::Expired, 0));
    assert_eq!(ledger.requests(), [young.to_string()]);
}

#[tokio::test]
async fn a_request_without_a_key_has_none_that_ages() {
    let (clock, store, redrive) = setup();
    let mut put = without_key(letter(&clock, 1000 * HOUR));
    put.method = Method::PUT;
    let put = push(&store, put).await;
    redrive
        .run(&store, Ledger::default().server(200))
        .await
        .unwrap();
    assert_eq!(state(&store, put).await, DELIVERED);
}

#[tokio::test]
async fn a_key_can_be_said_to_live_for_ever() {
    let (clock, store, redrive) = setup();
    let redrive = redrive.with_key_lifetime(Duration::MAX);
    let keyed = push(&store, letter(&clock, 1000 * HOUR)).await;
    redrive
        .run(&store, Ledger::default().server(200))
        .await
        .unwrap();
    assert_eq!(state(&store, keyed).await, DELIVERED);
}

#[tokio::test]
async fn what_may_run_twice_is_sent_only_by_itself_and_by_decision() {
    let (clock, store, redrive) = setup();
    let id = push(&store, without_key(letter(&clock, HOUR))).await;
    let other = push(&store, without_key(letter(&clock, HOUR))).await;
    let ledger = Ledger::default();
    // Not in bulk, not in bulk even if running twice is allowed, and not by its name alone.
    for redrive in [
        redrive.clone(),
        redrive.clone().with_may_run_twice(true),
        redrive.clone().with_id(id),
    ] {
        let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
        assert!(summary.not_sent >= 1 && summary.not_sent == summary.total());
    }
    assert!(ledger.requests().is_empty());
    assert_eq!(get(&store, id).await.redrives, 0);
    let redrive = redrive.with_id(id).with_may_run_twice(true);
    assert_eq!(
        redrive
            .run(&store, ledger.server(200))
            .await
            .unwrap()
            .delivered,
        1
    );
    assert_eq!(state(&store, id).await, DELIVERED);
    assert_eq!(state(&store, other).await, State::Pending);
}

#[tokio::test]
async fn a_recorded_field_that_holds_no_key_does_not_make_a_letter_repeatable() {
    let (clock, store, redrive) = setup();
    for values in [&[" "][..], &["\"\""], &["a key"], &["k1", "k1"]] {
        let mut letter = letter(&clock, HOUR);
        letter.headers.remove(KEY);
        for value in values {
            letter.headers.append(KEY, value.parse().unwrap());
        }
        push(&store, letter).await;
    }
    let ledger = Ledger::default();
    let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!((summary.not_sent, summary.total()), (4, 4));
    assert!(ledger.requests().is_empty());
}

#[tokio::test]
async fn what_was_never_sent_or_is_idempotent_needs_no_key() {
    let (clock, store, redrive) = setup();
    let mut never = without_key(letter(&clock, HOUR));
    never.failure.maybe_sent = false;
    push(&store, never).await;
    let mut delete = without_key(letter(&clock, HOUR));
    delete.method = Method::DELETE;
    push(&store, delete).await;
    let summary = redrive
        .run(&store, Ledger::default().server(200))
        .await
        .unwrap();
    assert_eq!((summary.delivered, summary.total()), (2, 2));
}

#[tokio::test]
async fn a_body_that_is_not_whole_or_is_scrubbed_or_sealed_is_not_sent() {
    let (clock, store, redrive) = setup();
    for payload in [
        Payload::Gone,
        Payload::Truncated(Bytes::from("amount=42")),
        Payload::Scrubbed(Bytes::from("amount=withheld")),
        Payload::Sealed(Bytes::from("amount=42")),
    ] {
        let mut letter = letter(&clock, HOUR);
        letter.payload = payload;
        push(&store, letter).await;
    }
    let ledger = Ledger::default();
    let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!((summary.not_sent, summary.total()), (4, 4));
    assert!(ledger.requests().is_empty());
}

#[tokio::test]
async fn a_filter_narrows_what_is_sent() {
    let (clock, store, redrive) = setup();
    let mut tagged = letter(&clock, HOUR);
    tagged.tags = Tags::new().with("shop", "berlin");
    tagged.failure.reason = Reason::Budget;
    let id = push(&store, tagged).await;
    push(&store, letter(&clock, HOUR)).await;
    let ledger = Ledger::default();
    let none = Filter::new().with_tag("shop", "paris");
    let summary = redrive
        .clone()
        .with_filter(none)
        .run(&store, ledger.server(200))
        .await;
    assert_eq!(summary.unwrap().total(), 0);
    let berlin = Filter::new()
        .with_tag("shop", "berlin")
        .with_reason(Reason::Budget);
    redrive
        .with_filter(berlin)
        .run(&store, ledger.server(200))
        .await
        .unwrap();
    assert_eq!(ledger.requests(), [id.to_string()]);
}

#[tokio::test]
async fn a_run_ends_early_when_too_many_fail_in_a_row() {
    let (clock, store, redrive) = setup();
    for age in 1..=50 {
        push(&store, letter(&clock, age * SECOND)).await;
    }
    let ledger = Ledger::default();
    let redrive = redrive.with_concurrency(ONE);
    let summary = redrive.run(&store, ledger.server(503)).await.unwrap();
    assert!(summary.stopped_early && !summary.is_success());
    assert_eq!((summary.failed, ledger.requests().len()), (20, 20));

    let all = redrive.clone().with_max_failures_in_row(None);
    assert_eq!(
        all.run(&store, ledger.server(503)).await.unwrap().failed,
        50
    );

    // In a row: a delivered record starts a new count.
    let calls = AtomicUsize::new(0);
    let calls = Arc::new(calls);
    let flaky = service_fn(move |_: Request<Body>| {
        let good = calls.fetch_add(1, SeqCst) % 3 == 2;
        async move { Ok::<_, std::convert::Infallible>(response(if good { 200 } else { 503 })) }
    });
    let three = redrive.with_max_failures_in_row(NonZeroU32::new(3));
    let summary = three.run(&store, boxed(flaky)).await.unwrap();
    assert_eq!((summary.failed, summary.delivered), (34, 16));
}

/// `letter` as it is if its server has only ever refused it.
fn refused(mut letter: Letter) -> Letter {
    letter.failure.maybe_processed = false;
    letter
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_only_refused_begins_to_age_with_the_redrive_that_was_not() {
    for (later, expected) in [(22 * HOUR, DELIVERED), (24 * HOUR, State::Expired)] {
        let (clock, store, redrive) = setup();
        let id = push(&store, refused(letter(&clock, 100 * HOUR))).await;
        let ledger = Ledger::default();
        redrive.run(&store, ledger.server(502)).await.unwrap();
        let failure = get(&store, id).await.letter.failure;
        assert!(failure.maybe_processed);
        assert_eq!(failure.maybe_processed_since, Some(clock.now()));
        clock.advance(later);
        redrive.run(&store, ledger.server(200)).await.unwrap();
        assert_eq!(state(&store, id).await, expected);
    }
}

#[tokio::test]
async fn credentials_that_are_refused_do_not_make_a_key_age() {
    for code in [401, 403, 407, 429] {
        let (clock, store, redrive) = setup();
        let id = push(&store, refused(letter(&clock, 100 * HOUR))).await;
        let ledger = Ledger::default();
        for _ in 0..3 {
            redrive.run(&store, ledger.server(code)).await.unwrap();
            assert_eq!(state(&store, id).await, State::Pending, "{code}");
            clock.advance(48 * HOUR);
        }
        redrive.run(&store, ledger.server(200)).await.unwrap();
        assert_eq!(state(&store, id).await, DELIVERED, "{code}");
    }
}

#[tokio::test]
async fn a_redrive_that_is_asked_for_a_pause_that_its_key_does_not_outlive_is_the_last() {
    let pause = || {
        boxed(service_fn(async |_: Request<Body>| {
            let mut response = response(429);
            let day = HeaderValue::from_static("86400");
            response.headers_mut().insert("retry-after", day);
            Ok::<_, Infallible>(response)
        }))
    };
    let (clock, store, redrive) = setup();
    let processed = push(&store, letter(&clock, HOUR)).await;
    let only_refused = push(&store, refused(letter(&clock, HOUR))).await;
    let summary = redrive.run(&store, pause()).await.unwrap();
    assert_eq!((summary.expired, summary.failed), (1, 1));
    let record = get(&store, processed).await;
    assert_eq!((record.state, record.redrives), (State::Expired, 1));
    assert_eq!(record.letter.failure.reason, Reason::KeyRunsOut);
    assert_eq!(state(&store, only_refused).await, State::Pending);
}

#[tokio::test]
async fn a_key_of_a_method_that_is_idempotent_need_not_be_young() {
    let (clock, store, redrive) = setup();
    let mut put = letter(&clock, 100 * HOUR);
    put.method = Method::PUT;
    let id = push(&store, put).await;
    let ledger = Ledger::default();
    redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!(state(&store, id).await, DELIVERED);
}
