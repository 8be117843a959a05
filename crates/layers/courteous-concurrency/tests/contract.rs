//! The limit, in each of its forms, keeps the promises of every layer.

use std::time::Duration;

use courteous_concurrency::{ConcurrencyLimitLayer, HoldUntil, Keyed, Limiter};
use courteous_testkit::{Subject, contract};

const MINUTE: Duration = Duration::from_secs(60);

/// A subject that also checks its limiter's gauges: they are zero when everything is over.
fn gauged<L>(layer: L, limiter: &Limiter) -> Subject<L> {
    let (in_flight, waiting) = (limiter.clone(), limiter.clone());
    Subject::new(layer)
        .gauge("in flight", move || in_flight.in_flight())
        .gauge("waiting", move || waiting.waiting())
}

contract!(mod by_default {
    let limiter = Limiter::new(1).unwrap();
    crate::gauged(ConcurrencyLimitLayer::from(limiter.clone()), &limiter).waits_behind(1)
});

contract!(mod oldest_first {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone()).oldest_first();
    crate::gauged(layer, &limiter).waits_behind(1)
});

contract!(mod to_the_headers {
    let limiter = Limiter::new(2).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone()).hold_until(HoldUntil::Headers);
    crate::gauged(layer, &limiter).waits_behind(2)
});

contract!(mod with_bounds {
    let limiter = Limiter::new(1).unwrap();
    let layer = ConcurrencyLimitLayer::from(limiter.clone())
        .with_max_wait(10 * MINUTE)
        .with_max_waiting(10_000);
    crate::gauged(layer, &limiter).waits_behind(1)
});

contract!(mod per_origin {
    let limiters = Keyed::per_origin(Limiter::new(1).unwrap());
    let (in_flight, waiting) = (limiters.clone(), limiters.clone());
    Subject::new(ConcurrencyLimitLayer::of(limiters))
        .gauge("in flight", move || in_flight.in_flight())
        .gauge("waiting", move || waiting.waiting())
        .waits_behind(1)
        .keeps_origins_apart(1)
});
