//! The states of a bucket's waiters.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use courteous_core::RejectReason;
use courteous_limit::Ask;
use courteous_limit::{Serve, Ticket, Wakes};
use tokio::time::Instant;

use super::{
    calls::granted,
    sent::{ms, rate},
};
use crate::{
    core::{Answer, Core, Polled},
    keys::Keys,
    outage::Outage,
    pending_calls::PendingCalls,
    script::Reply,
};

fn waits(core: &mut Core, cost: u32, now: Instant) -> Ticket {
    match core.take(&Ask::new(NonZeroU32::new(cost).unwrap()), now).0 {
        Answer::Queued(ticket) => ticket,
        _ => panic!("it does not wait"),
    }
}

#[test]
fn the_example_of_the_diagram() {
    let start = Instant::now();
    let at = |millis| start + ms(millis);
    let shared = Core::shared(
        rate(100, 20),
        Outage::DEFAULT,
        Duration::from_secs(3),
        &Arc::new(PendingCalls::new()),
        Keys::new("example", None),
        start,
    );
    let mut wakes = Wakes::new();
    shared.with(|core| {
        let reply = Reply {
            first: 10_000_000,
            ..granted(4)
        };
        assert_eq!(core.leased.add(&reply, 1, start, start), 4);
        let [a, b, c] = [1, 2, 1].map(|cost| waits(core, cost, start));
        assert_eq!(core.queued_cost, 4);
        for (millis, granted) in [
            (9, [false, false, false]),
            (10, [true, false, false]),
            (29, [true, false, false]),
            (30, [true, true, false]),
            (40, [true, true, true]),
        ] {
            core.serve(at(millis), &mut wakes);
            assert_eq!([&a, &b, &c].map(|ticket| core.is_granted(ticket)), granted);
        }
        assert_eq!((core.queued_cost, core.leased.len()), (0, 0));
        assert!(core.spend(&b, at(105)));
        assert_eq!(core.leave(b, true, at(105)).0, 2);
        let found = core.poll_waiter(&a, &mut None, at(110), &mut wakes);
        assert!(matches!(found, Polled::Waiting));
        assert_eq!(core.queued_cost, 1);
        // C gives its slot back, and A is the next waiter.
        assert_eq!(core.leave(c, false, at(120)).0, 1);
        core.serve(at(120), &mut wakes);
        assert!(core.spend(&a, at(139)));
        assert_eq!(core.leave(a, true, at(139)).0, 1);
        assert_eq!(core.waiting(), 0);
    });
}

#[test]
fn a_waiter_that_costs_more_than_the_new_burst_is_rejected_and_blocks_no_other() {
    let start = Instant::now();
    let shared = Core::shared(
        rate(100, 20),
        Outage::DEFAULT,
        Duration::from_secs(3),
        &Arc::new(PendingCalls::new()),
        Keys::new("lowered", None),
        start,
    );
    let mut wakes = Wakes::new();
    shared.with(|core| {
        let ready = start + ms(20);
        assert_eq!(core.leased.add(&granted(2), 1, start, start), 2);
        let ticket = waits(core, 2, start);
        core.serve(ready, &mut wakes);
        assert!(core.is_granted(&ticket));
        // It is not ready to send, and waits outside of the queue meanwhile.
        core.pass(&ticket, ready);
        core.set(rate(100, 1), Outage::DEFAULT, ready);
        core.look(ready, &mut wakes);
        assert_eq!(core.calls.terms().max_cost(), 1);
        let found = core.poll_waiter(&ticket, &mut None, ready + ms(1), &mut wakes);
        let Polled::Rejected(rejected) = found else {
            panic!("it waits for ever");
        };
        assert_eq!(rejected.reason(), RejectReason::CostAboveBurst);
        assert_eq!(core.queued_cost, 0);
        let _ = core.leave(ticket, false, ready + ms(2));
    });
}
