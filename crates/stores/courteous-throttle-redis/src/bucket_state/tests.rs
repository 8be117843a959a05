//! The states of a bucket's waiters.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use courteous_core::RejectReason;
use courteous_limit::{Ask, Entry, PollOutcome, Serve, Ticket, TokenQueue, Wakes};
use tokio::time::Instant;

use super::{BucketState, calls::tests::granted, waiters::State};
use crate::{
    keys::Keys,
    outage::Outage,
    pending_calls::PendingCalls,
    script::Reply,
    tests::sent::{ms, rate},
};

fn waits(state: &mut BucketState, cost: u32, now: Instant) -> Ticket {
    match state
        .enter(&Ask::new(NonZeroU32::new(cost).unwrap()), now)
        .0
    {
        Entry::Queued(ticket) => ticket,
        _ => panic!("it does not wait"),
    }
}

fn is_granted(state: &BucketState, ticket: &Ticket) -> bool {
    matches!(state.waiters.get(ticket).state, State::Granted(_))
}

#[test]
fn the_example_of_the_diagram() {
    let start = Instant::now();
    let at = |millis| start + ms(millis);
    let shared = BucketState::shared(
        rate(100, 20),
        Outage::DEFAULT,
        Duration::from_secs(3),
        &Arc::new(PendingCalls::new()),
        Keys::new("example", None),
        start,
    );
    let mut wakes = Wakes::new();
    shared.with(|state| {
        let reply = Reply {
            first: 10_000_000,
            ..granted(4)
        };
        assert_eq!(state.tokens.lease(&reply, 1, start, start), 4);
        let [a, b, c] = [1, 2, 1].map(|cost| waits(state, cost, start));
        assert_eq!(state.waiters.cost(), 4);
        for (millis, granted) in [
            (9, [false, false, false]),
            (10, [true, false, false]),
            (29, [true, false, false]),
            (30, [true, true, false]),
            (40, [true, true, true]),
        ] {
            state.serve(at(millis), &mut wakes);
            assert_eq!(
                [&a, &b, &c].map(|ticket| is_granted(state, ticket)),
                granted
            );
        }
        assert_eq!((state.waiters.cost(), state.tokens.leased().len()), (0, 0));
        assert!(state.spend(&b, at(105)));
        assert_eq!(state.leave(b, true, at(105)).0, 2);
        let found = state.poll_waiter(&a, &mut None, at(110), &mut wakes);
        assert!(matches!(found, PollOutcome::Waiting));
        assert_eq!(state.waiters.cost(), 1);
        // C gives its slot back, and A is the next waiter.
        assert_eq!(state.leave(c, false, at(120)).0, 1);
        state.serve(at(120), &mut wakes);
        assert!(state.spend(&a, at(139)));
        assert_eq!(state.leave(a, true, at(139)).0, 1);
        assert_eq!(state.waiting(), 0);
    });
}

#[test]
fn a_waiter_that_costs_more_than_the_new_burst_is_rejected_and_blocks_no_other() {
    let start = Instant::now();
    let shared = BucketState::shared(
        rate(100, 20),
        Outage::DEFAULT,
        Duration::from_secs(3),
        &Arc::new(PendingCalls::new()),
        Keys::new("lowered", None),
        start,
    );
    let mut wakes = Wakes::new();
    shared.with(|state| {
        let ready = start + ms(20);
        assert_eq!(state.tokens.lease(&granted(2), 1, start, start), 2);
        let ticket = waits(state, 2, start);
        state.serve(ready, &mut wakes);
        assert!(is_granted(state, &ticket));
        // It is not ready to send, and waits outside of the queue meanwhile.
        state.pass(&ticket, ready);
        state.set(rate(100, 1), Outage::DEFAULT, ready);
        state.look(ready, &mut wakes);
        assert_eq!(state.calls.terms().max_cost(), 1);
        let found = state.poll_waiter(&ticket, &mut None, ready + ms(1), &mut wakes);
        let PollOutcome::Rejected(rejected) = found else {
            panic!("it waits for ever");
        };
        assert_eq!(rejected.reason(), RejectReason::CostAboveBurst);
        assert_eq!(state.waiters.cost(), 0);
        let _ = state.leave(ticket, false, ready + ms(2));
    });
}
