//! The states of a bucket's calls, one transition after another.

use std::time::Duration;

use tokio::time::Instant;

use super::{Calls, Due, Needs};
use crate::{
    bucket_state::leased::LeasedSlots,
    call_failure::CallFailure,
    script::{Call, Reply},
    terms::Terms,
    tests::sent::{ms, rate},
};

/// The longest time that a call takes.
const LONGEST: Duration = Duration::from_secs(3);

/// Slots are 10 ms apart, and a lease is 100 ms.
fn terms() -> Terms {
    Terms::of(rate(100, 20))
}

/// Many requests wait.
fn crowd(leased: &LeasedSlots) -> Needs<'_> {
    Needs {
        front: Some(1),
        waiting: 100,
        leased,
        closed_until: None,
    }
}

/// Nothing waits.
fn nothing(leased: &LeasedSlots) -> Needs<'_> {
    Needs {
        front: None,
        waiting: 0,
        ..crowd(leased)
    }
}

pub(crate) fn granted(granted: u32) -> Reply {
    Reply {
        granted,
        first: 0,
        ends: i64::from(granted) * 10_000_000,
        wait: Duration::ZERO,
        workers: 1,
        rates: 1,
        terms: terms(),
        closed_for: Duration::ZERO,
        now: 0,
        skew: 0,
        run: 1,
        cold: false,
        born: 1,
    }
}

fn fault(retry_at: Instant) -> CallFailure {
    let text = "not connected".into();
    CallFailure { text, retry_at }
}

/// A call for a crowd that has just begun.
fn calling(now: Instant) -> (Calls, Call) {
    let (mut calls, leased) = (Calls::new(LONGEST, terms(), now), LeasedSlots::default());
    assert_eq!(calls.ask_if_due(crowd(&leased), now), Due::Now);
    let call = calls.begin(1, crowd(&leased), now).unwrap();
    (calls, call)
}

/// An answer that is in time, or not.
fn answer(calls: &mut Calls, call: &Call, late: bool, before: Instant, received: Instant) {
    let mut transitions = calls.hear(call, &granted(10), before, received);
    calls.conclude(call, late, received, &mut transitions);
}

#[test]
fn the_example_of_the_diagram() {
    let start = Instant::now();
    let at = |micros| start + Duration::from_micros(micros);
    let mut leased = LeasedSlots::default();
    let (mut calls, call) = calling(start);
    let reply = granted(10);
    let mut transitions = calls.hear(&call, &reply, start, at(2_000));
    assert_eq!(leased.add(&reply, call.need, start, at(2_000)), 10);
    calls.conclude(&call, false, at(2_000), &mut transitions);
    assert!(transitions.reached && calls.is_connected());
    let early = calls.ask_if_due(crowd(&leased), at(2_000));
    assert_eq!(early, Due::At(at(79_500)));
    assert_eq!(calls.ask_if_due(crowd(&leased), at(79_500)), Due::Now);
    assert!(calls.begin(1, crowd(&leased), at(79_500)).is_some());
    assert!(calls.failed(&fault(at(121_000)), at(81_000)).lost);
    assert!(!calls.is_trying(at(81_000)));
    let paused = calls.ask_if_due(crowd(&leased), at(92_000));
    assert_eq!(paused, Due::At(at(121_000)));
    assert_eq!(calls.ask_if_due(crowd(&leased), at(121_000)), Due::Now);
}

#[test]
fn a_bucket_has_one_call_at_a_time() {
    let start = Instant::now();
    let leased = LeasedSlots::default();
    let (mut calls, _) = calling(start);
    assert_eq!(calls.ask_if_due(crowd(&leased), start), Due::Never);
    assert_eq!(calls.begin(2, crowd(&leased), start), None);
}

#[test]
fn a_worker_that_finds_no_reason_to_call_any_more_does_not() {
    let start = Instant::now();
    let (mut calls, leased) = (Calls::new(LONGEST, terms(), start), LeasedSlots::default());
    assert_eq!(calls.ask_if_due(crowd(&leased), start), Due::Now);
    assert_eq!(calls.begin(1, nothing(&leased), start), None);
    assert!(!calls.is_asked());
}

#[test]
fn a_worker_that_does_not_begin_within_a_second_has_stalled() {
    let start = Instant::now();
    let (mut calls, leased) = (Calls::new(LONGEST, terms(), start), LeasedSlots::default());
    assert_eq!(calls.ask_if_due(crowd(&leased), start), Due::Now);
    assert_eq!(
        calls.ask_if_due(crowd(&leased), start + ms(999)),
        Due::Never
    );
    assert_eq!(
        calls.ask_if_due(crowd(&leased), start + ms(1_000)),
        Due::Now
    );
}

#[test]
fn the_answer_of_a_stalled_call_does_not_revoke_the_call_that_is_asked_for() {
    let start = Instant::now();
    let leased = LeasedSlots::default();
    let (mut calls, stalled) = calling(start);
    let now = start + LONGEST;
    assert_eq!(calls.ask_if_due(crowd(&leased), now - ms(1)), Due::Never);
    assert_eq!(calls.ask_if_due(crowd(&leased), now), Due::Now);
    answer(&mut calls, &stalled, false, start, now);
    assert!(calls.is_asked());
    assert!(calls.begin(2, crowd(&leased), now).is_some());
}

#[test]
fn the_failure_of_a_stalled_call_delays_the_call_that_is_asked_for() {
    let start = Instant::now();
    let leased = LeasedSlots::default();
    let (mut calls, _) = calling(start);
    let now = start + LONGEST;
    assert_eq!(calls.ask_if_due(crowd(&leased), now), Due::Now);
    calls.failed(&fault(now + ms(40)), now);
    assert_eq!(calls.begin(2, crowd(&leased), now + ms(39)), None);
    assert!(calls.begin(2, crowd(&leased), now + ms(40)).is_some());
}

#[test]
fn one_late_answer_is_asked_for_again_at_once_and_two_in_a_row_are_an_outage() {
    let start = Instant::now();
    let leased = LeasedSlots::default();
    let (mut calls, call) = calling(start);
    let received = start + ms(150);
    answer(&mut calls, &call, true, start, received);
    assert!(!calls.is_alone());
    assert_eq!(calls.ask_if_due(crowd(&leased), received), Due::Now);
    let call = calls.begin(1, crowd(&leased), received).unwrap();
    let (before, received) = (received, received + ms(150));
    answer(&mut calls, &call, true, before, received);
    assert_eq!(calls.alone_since(), Some(received));
    // Four round trips.
    let due = calls.ask_if_due(crowd(&leased), received);
    assert_eq!(due, Due::At(received + ms(600)));
}

#[test]
fn a_pause_is_told_with_each_call_until_one_is_answered() {
    let start = Instant::now();
    let leased = LeasedSlots::default();
    let mut calls = Calls::new(LONGEST, terms(), start);
    calls.close(start + ms(500));
    let call = calls.begin(1, nothing(&leased), start).unwrap();
    assert_eq!(call.closed_for, ms(500));
    calls.failed(&fault(start + ms(40)), start);
    assert!(calls.is_urgent());
    let now = start + ms(40);
    let call = calls.begin(1, nothing(&leased), now).unwrap();
    assert_eq!(call.closed_for, ms(460));
    answer(&mut calls, &call, false, now, now);
    assert!(!calls.is_urgent());
    assert_eq!(calls.begin(1, nothing(&leased), now), None);
}

#[test]
fn a_longer_pause_that_came_during_a_call_is_still_to_be_told() {
    let start = Instant::now();
    let leased = LeasedSlots::default();
    let mut calls = Calls::new(LONGEST, terms(), start);
    calls.close(start + ms(500));
    let call = calls.begin(1, nothing(&leased), start).unwrap();
    calls.close(start + ms(900));
    answer(&mut calls, &call, false, start, start);
    assert!(calls.is_urgent());
    let call = calls.begin(1, nothing(&leased), start).unwrap();
    assert_eq!(call.closed_for, ms(900));
}

#[test]
fn a_laxer_quota_is_told_only_after_a_slower_one() {
    let start = Instant::now();
    let leased = LeasedSlots::default();
    let mut calls = Calls::new(LONGEST, terms(), start);
    let mut told = |remaining| {
        calls.pace(remaining, ms(1_000), start);
        let call = calls.begin(1, crowd(&leased), start).unwrap();
        answer(&mut calls, &call, false, start, start);
        call.pace
    };
    // A slot in 10 ms is what the rate allows.
    assert_eq!(told(200), Duration::ZERO);
    assert_eq!(told(10), ms(100));
    assert_eq!(told(200), ms(5));
    assert_eq!(told(200), Duration::ZERO);
}
