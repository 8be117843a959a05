//! The promises of the suite: its runs repeat, its stack has the defaults, and any other stack can
//! take part.

use std::time::Duration;

use courteous::{
    core::Dice,
    idempotency::IdempotencyKeyLayer,
    retry::RetryLayer,
    throttle::{Bucket, Keyed, Rate, ThrottleLayer},
};
use courteous_storm::{Report, Requirements, Scenario, Stack, Suite, Transport, catalogue, run};
use tower::{ServiceBuilder, timeout::Timeout};

fn scenario(id: &str) -> Scenario {
    let mut all = catalogue();
    all.retain(|scenario| scenario.id() == id);
    all.remove(0)
}

#[test]
fn a_table_is_the_same_each_time_and_another_with_another_seed() {
    let table = |seed| {
        let suite = Suite::full().with_scenarios(&["S4-200x5", "S6", "S9"]);
        suite.with_seed(seed).run().unwrap().to_string()
    };
    assert_eq!(table(1), table(1));
    assert_ne!(table(1), table(2));
}

#[test]
fn the_stack_of_the_suite_is_the_one_that_ships() {
    // The seeds that `Stack::Courteous` gives to the two layers that draw.
    let seed = |seed: u64, n: u64| {
        let mut z = seed.wrapping_add((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let shipped = |transport: Transport, required: &Requirements| {
        let dice = |n| Dice::seeded(seed(required.seed(), n));
        let buckets = Keyed::per_origin(Bucket::new(Rate::UNLIMITED).with_dice(dice(1)));
        let mut retry = RetryLayer::new().with_dice(dice(0));
        if let Some(attempts) = required.attempts() {
            retry = retry.with_max_attempts(attempts.get()).unwrap();
        }
        courteous::Stack::new()
            .with_idempotency_key(IdempotencyKeyLayer::new())
            .with_total_timeout(required.total_timeout().unwrap_or(Duration::MAX))
            .with_retry(retry)
            .with_throttle(ThrottleLayer::of(buckets))
            .with_attempt_timeout(required.attempt_timeout())
            .build()
            .unwrap()
            .layer(transport)
    };
    for id in ["S2", "S4-20x25", "S5-30%", "S9"] {
        let scenario = scenario(id).with_clients(20);
        let shipped = run(&scenario, shipped).unwrap();
        let ours = Stack::Courteous.run(&scenario).unwrap();
        assert_eq!(shipped.metrics(), ours.metrics(), "{id}");
    }
}

#[test]
fn a_stack_of_ones_own_takes_part() {
    let report = run(&Scenario::calm(100.0), |transport, required| {
        ServiceBuilder::new()
            .map_err(tower::BoxError::from)
            .layer_fn(|inner| Timeout::new(inner, required.attempt_timeout()))
            .service(transport)
    });
    let report = report.unwrap().with_stack("mine");
    assert_eq!(report.stack(), "mine");
    assert!(report.metrics().served > 0.999 && report.score() > 0.99);
}

#[test]
fn what_a_stack_holds_in_the_end_is_counted() {
    let report = run(&Scenario::calm(10.0), |transport, required| {
        required.at_end(|| 3);
        Timeout::new(transport, required.attempt_timeout())
    });
    assert_eq!(report.unwrap().metrics().leaked, 300);
}

#[test]
fn the_oracle_is_beaten_by_nobody() {
    // What lasts ten minutes takes too long without optimisation.
    let short = |it: &Scenario| it.id() != "S12-lasting";
    for scenario in catalogue().into_iter().filter(short) {
        for stack in [Stack::NoRetry, Stack::Courteous] {
            let report: Report = stack.run(&scenario).unwrap();
            let (it, oracle) = (report.metrics(), report.oracle());
            assert!(it.served <= oracle.served + 0.001, "{}", scenario.id());
            let makespans = it.makespan.zip(oracle.makespan);
            assert!(
                makespans.is_none_or(|(it, oracle)| it >= oracle),
                "{}",
                scenario.id()
            );
        }
    }
}
