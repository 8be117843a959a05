//! What a push promises.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use courteous_core::{Effect, Fault, Verdict};
use http::{HeaderName, HeaderValue, StatusCode, header::AUTHORIZATION};

use super::steps::{Any, HOUR, claim, get, ids, letter, list, push};
use crate::{Clock, Filter, Mark, Page, PastAttempt, Payload, PushError, Reason, State, Tags};

pub async fn a_letter_is_read_back_as_it_was(store: &Any, clock: &Clock) {
    let micro = Duration::from_micros(1);
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000) + micro;
    let name = HeaderName::from_static("idempotency-key");
    let past = |number, verdict, status| {
        let status = Option::map(status, |status| StatusCode::from_u16(status).unwrap());
        PastAttempt::new(number, now - HOUR, verdict, status)
    };
    let effects = [
        Effect::NeverSent,
        Effect::Refused,
        Effect::MaybeProcessed,
        Effect::InProgress,
    ];
    let faults = [
        Fault::NoResponse,
        Fault::Server,
        Fault::Overload,
        Fault::Throttled,
    ];
    let mut letters = Vec::new();
    for payload in [
        Payload::Whole(Bytes::new()),
        Payload::Whole((0..=255).collect()),
        Payload::Truncated(Bytes::from_static(b"beginning")),
        Payload::Gone,
    ] {
        let mut letter = letter(clock, HOUR, Reason::WaitTooLong);
        letter.uri = "https://api.example.com:8443/a%20b?q=%27;--&token=withheld"
            .parse()
            .unwrap();
        letter.payload = payload;
        let headers = &mut letter.headers;
        headers.append(
            "x-bytes",
            HeaderValue::from_bytes(b"\xff\xfe\t'\"\\").unwrap(),
        );
        headers.append("x-utf8", HeaderValue::from_bytes("ü€".as_bytes()).unwrap());
        headers.append("x-many", HeaderValue::from_static("2"));
        headers.append("x-many", HeaderValue::from_static("1"));
        headers.append("x-empty", HeaderValue::from_static(""));
        headers.append(&name, HeaderValue::from_static("\"8e03978e\""));
        letter.key_header = Some(name.clone());
        letter.withheld.headers.push(AUTHORIZATION);
        letter.withheld.query.push("token".to_owned());
        letter.withheld.userinfo = true;
        letter.idempotent = Some(letter.payload == Payload::Gone);
        letter.tags = Tags::new()
            .with("order", "42")
            .with("quote\"'\\", "'; DROP TABLE letters; --\n€");
        letter.first_at = now - 2 * HOUR;
        let failure = &mut letter.failure;
        failure.attempts = u32::MAX;
        failure.history = vec![past(1, Verdict::Answered, Some(404))];
        failure.history.push(past(2, Verdict::Permanent, None));
        for effect in effects {
            failure.history.push(past(
                3,
                Verdict::transient(effect, Fault::Server),
                Some(503),
            ));
        }
        for fault in faults {
            failure.history.push(past(
                u32::MAX,
                Verdict::transient(Effect::Refused, fault),
                None,
            ));
        }
        failure.maybe_sent = false;
        failure.last_status = Some(StatusCode::TOO_MANY_REQUESTS);
        failure.last_error = Some("zwölf 'Boxkämpfer'".to_owned());
        failure.last_at = now;
        failure.not_before = Some(now + micro);
        letters.push(letter);
    }
    for (processed, since) in [
        (false, None),
        (true, Some(now - HOUR + micro)),
        (true, None),
    ] {
        let mut letter = letter(clock, HOUR, Reason::Attempts);
        letter.failure.maybe_processed = processed;
        letter.failure.maybe_processed_since = since;
        letters.push(letter);
    }
    // Also a letter with nothing in it.
    letters.push(letter(clock, HOUR, Reason::Abandoned));
    letters.last_mut().unwrap().failure.last_at = now;
    letters.last_mut().unwrap().first_at = now;
    for letter in letters {
        store.push(letter.clone()).await.unwrap();
        let record = get(store, letter.id).await;
        assert_eq!(record.letter, letter);
        assert_eq!((record.state, record.redrives), (State::Pending, 0));
    }
}

pub async fn a_letter_whose_key_cannot_be_used_again_is_expired_from_the_beginning(
    store: &Any,
    clock: &Clock,
) {
    for reason in [Reason::KeyRunsOut, Reason::KeyReused] {
        let mut letter = letter(clock, HOUR, reason);
        letter.failure.not_before = Some(clock.now() + 100 * HOUR);
        store.push(letter.clone()).await.unwrap();
        let record = get(store, letter.id).await;
        assert_eq!((record.state, record.redrives), (State::Expired, 0));
        assert_eq!(record.letter, letter);
        // It is made pending by hand.
        store.mark(letter.id, Mark::Pending).await.unwrap();
        let claimed = claim(store, 9).await;
        let ids: Vec<_> = claimed.iter().map(|record| record.letter.id).collect();
        assert_eq!(ids, [letter.id]);
    }
}

pub async fn a_sealed_body_is_kept_as_it_is(store: &Any, clock: &Clock) {
    let mut letter = letter(clock, HOUR, Reason::Attempts);
    letter.payload = Payload::Sealed(Bytes::from_static(b"\0cipher"));
    store.push(letter.clone()).await.unwrap();
    let listed = store.list(Filter::new(), Page::first(1)).await.unwrap();
    assert_eq!(listed[0].letter, letter);
}

pub async fn a_letter_is_kept_once(store: &Any, clock: &Clock) {
    let first = letter(clock, HOUR, Reason::Attempts);
    store.push(first.clone()).await.unwrap();
    let mut second = first.clone();
    second.failure.reason = Reason::Budget;
    store.push(second).await.unwrap();
    assert_eq!(get(store, first.id).await.letter, first);
    assert_eq!(store.stats().await.unwrap().total(), 1);
}

pub async fn dropping_the_future_of_a_push_takes_nothing_back(store: &Any, clock: &Clock) {
    let letter = letter(clock, HOUR, Reason::Attempts);
    let id = letter.id;
    drop(store.push(letter));
    for _ in 0..1000 {
        if store.get(id).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the letter is lost");
}

pub async fn many_letters_pushed_at_once_are_all_kept(store: &Any, clock: &Clock) {
    let letters: Vec<_> = (0..200)
        .map(|_| letter(clock, HOUR, Reason::Attempts))
        .collect();
    let mut expected: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    expected.sort();
    let tasks: Vec<_> = letters
        .into_iter()
        .map(|letter| tokio::spawn(store.push(letter)))
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let all = store.list(Filter::new(), Page::first(1000)).await.unwrap();
    assert_eq!(ids(&all), expected);
}

pub async fn a_flush_waits_for_letters_whose_futures_were_dropped(store: &Any, clock: &Clock) {
    store.flush().await;
    let letters = (0..50).map(|_| letter(clock, HOUR, Reason::Abandoned));
    let pushed: Vec<_> = letters
        .map(|letter| (letter.id, store.push(letter)))
        .collect();
    let ids: Vec<_> = pushed.iter().map(|(id, _)| *id).collect();
    drop(pushed);
    store.flush().await;
    for id in ids {
        assert!(store.get(id).await.unwrap().is_some());
    }
}

/// For stores with a limit: the first letter beyond the limit is rejected, and the others are kept.
#[allow(
    dead_code,
    reason = "not every store has a capacity that a test can set"
)]
pub async fn a_full_store_says_so(store: &Any, clock: &Clock, capacity: u32) {
    let pushed = push(store, clock, capacity).await;
    let refused = store.push(letter(clock, HOUR / 2, Reason::Attempts)).await;
    assert!(matches!(refused, Err(PushError::Full)), "{refused:?}");
    assert_eq!(list(store, Filter::new()).await, pushed);
}
