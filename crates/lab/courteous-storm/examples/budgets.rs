//! Retry budgets with other rules than the default, in the scenarios that a budget decides.
//!
//! For each rule and each number of clients, prints the share of calls that were served in S1, S2,
//! S5 and S11, and the attempts for each call in S5: `cargo run --release -p courteous-storm
//! --example budgets`.

use std::{error::Error, thread, time::Duration};

use courteous::{
    concurrency,
    core::Dice,
    idempotency::IdempotencyKeyLayer,
    retry::{Budget, BudgetBuilder, RetryLayer},
    throttle::{Bucket, Keyed, Rate, ThrottleLayer},
};
use courteous_storm::{Report, Scenario, catalogue, run};

type Rule = (&'static str, fn(BudgetBuilder) -> BudgetBuilder);

/// Each rule differs from the default as its name says.
const RULES: [Rule; 17] = [
    ("as shipped", |it| it),
    ("deposit 0.1", |it| it.deposit(0.1)),
    ("deposit 0.15", |it| it.deposit(0.15)),
    ("deposit 0.25", |it| it.deposit(0.25)),
    ("deposit 0.3", |it| it.deposit(0.3)),
    ("start 0", |it| it.start(0)),
    ("start 1", |it| it.start(1)),
    ("start 3", |it| it.start(3)),
    ("start 10", |it| it.start(10)),
    ("cap 1 to 10, start 1", |it| it.start(1).cap(1, 10)),
    ("cap 2 to 10, start 2", |it| it.start(2).cap(2, 10)),
    ("cap 3", |it| it.cap(3, 3)),
    ("cap 10", |it| it.cap(10, 10)),
    ("cap 3 to 30", |it| it.cap(3, 30)),
    ("window 3 s", |it| it.window(Duration::from_secs(3))),
    ("no response costs 1", |it| it.price_after_no_response(1)),
    ("no response costs 3", |it| it.price_after_no_response(3)),
];

const CLIENTS: [usize; 3] = [5, 100, 1000];
const SCENARIOS: [&str; 6] = ["S1", "S2", "S5-10%", "S5-30%", "S11-late", "S11-brown-out"];

fn main() -> Result<(), Box<dyn Error>> {
    print!("{:<22}", "");
    for id in SCENARIOS {
        print!("  {:<23}", format!("{id}: 5, 100, 1000"));
    }
    println!("  attempts in S5 at M = 100");
    // Two rules at a time, one for each core of a small machine.
    for rules in RULES.chunks(2) {
        let lines = thread::scope(|scope| {
            let lines: Vec<_> = rules
                .iter()
                .map(|rule| scope.spawn(|| line(rule)))
                .collect();
            let joined = lines.into_iter().map(|line| line.join());
            joined.collect::<Result<Vec<_>, _>>()
        });
        for line in lines.map_err(|_| "a run has panicked")? {
            println!("{}", line.map_err(|error| error.to_string())?);
        }
    }
    Ok(())
}

fn line(rule: &Rule) -> Result<String, String> {
    let mut line = format!("{:<22}", rule.0);
    let mut attempts = String::new();
    for id in SCENARIOS {
        let mut cell = String::new();
        for clients in CLIENTS {
            let mut all = catalogue();
            all.retain(|scenario| scenario.id() == id);
            let scenario = all.remove(0).with_clients(clients);
            let report = storm(&scenario, rule).map_err(|error| error.to_string())?;
            let it = report.metrics();
            cell += &format!("{:>7.2}", it.served * 100.0);
            if id.starts_with("S5") && clients == 100 {
                attempts += &format!(" {:.3}", it.attempts);
            }
        }
        line += &format!("  {cell:<23}");
    }
    Ok(line + " " + &attempts)
}

fn storm(scenario: &Scenario, (_, rule): &Rule) -> Result<Report, Box<dyn Error>> {
    rule(Budget::builder()).build()?;
    let report = run(scenario, |transport, required| {
        let dice = |n| Dice::seeded(required.seed().wrapping_add(n));
        let budget = rule(Budget::builder()).build().unwrap_or_default();
        let buckets = Keyed::per_origin(Bucket::new(Rate::UNLIMITED).with_dice(dice(1)));
        let limiters = concurrency::Keyed::per_origin(concurrency::Limiter::from(IN_FLIGHT));
        courteous::ServiceBuilder::new()
            .layer(IdempotencyKeyLayer::new())
            .layer(courteous::timeout::TotalTimeoutLayer::new(
                required.total_timeout().unwrap_or(Duration::MAX),
            ))
            .layer(RetryLayer::new().with_dice(dice(0)).with_budget(budget))
            .layer(courteous::concurrency::ConcurrencyLimitLayer::of(limiters))
            .layer(ThrottleLayer::of(buckets))
            .layer(courteous::timeout::AttemptTimeoutLayer::new(
                required.attempt_timeout(),
            ))
            .service(transport)
    });
    Ok(report?)
}

/// As in `courteous::Stack`.
const IN_FLIGHT: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(127);
