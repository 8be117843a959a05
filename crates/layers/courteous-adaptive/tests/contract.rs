//! The limit, in each of its forms, keeps the promises of every layer.

#![allow(clippy::unwrap_used)]

use courteous_adaptive::{AdaptiveLimitLayer, AdaptiveLimiter, Keyed, Partition};
use courteous_testkit::{Subject, contract};

/// A limiter that admits so many attempts at a time, whatever happens.
fn pinned(limit: f64) -> AdaptiveLimiter {
    let limiter = AdaptiveLimiter::new();
    limiter.pin(limit).unwrap();
    limiter
}

fn gauged<L>(layer: L, limiter: &AdaptiveLimiter) -> Subject<L> {
    let (in_flight, waiting) = (limiter.clone(), limiter.clone());
    Subject::new(layer)
        .gauge("in flight", move || in_flight.in_flight())
        .gauge("waiting", move || waiting.waiting())
}

contract!(mod by_default {
    let limiter = courteous_adaptive::AdaptiveLimiter::new();
    crate::gauged(AdaptiveLimitLayer::from(limiter.clone()), &limiter)
});

contract!(mod at_its_limit {
    let limiter = crate::pinned(1.0);
    crate::gauged(AdaptiveLimitLayer::from(limiter.clone()), &limiter).waits_behind(1)
});

contract!(mod oldest_first {
    let limiter = crate::pinned(2.0);
    let layer = AdaptiveLimitLayer::from(limiter.clone()).oldest_first();
    crate::gauged(layer, &limiter).waits_behind(2)
});

contract!(mod per_origin {
    let layer = AdaptiveLimitLayer::per_origin(AdaptiveLimitLayer::new().with_bounds(0.0, 1.0).unwrap());
    let partition: Keyed<_, _> = layer.partition().clone();
    let read = move || {
        let now = partition.snapshot().unwrap();
        now.in_flight + now.waiting
    };
    Subject::new(layer).gauge("calls", read).waits_behind(1).keeps_origins_apart(1)
});
