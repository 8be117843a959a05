//! The report for a person.

use std::time::Duration;

use tokio::time::interval;

use crate::{
    calls::{self, CLIENTS, RUSH, SECONDS},
    fleet::{Gauges, Outcome},
};

pub(crate) fn introduce() {
    println!(
        "{CLIENTS} clients, {} calls a second, a server for 200.",
        calls::rate(0)
    );
    println!(
        "Second {} to {}: {} calls a second.",
        RUSH.start,
        RUSH.end - 1,
        calls::rate(RUSH.start),
    );
    println!();
}

/// Prints a line each second: what was sent and served in time in that second, the server's queue,
/// and the sum of the clients' limits.
pub(crate) async fn live(fleets: &[&dyn Gauges]) {
    print!("{:>3} {:>5}", "s", "calls");
    for fleet in fleets {
        print!(" | {:<9} sent served  queue  limit", fleet.name());
    }
    println!();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.tick().await;
    let mut before = vec![(0, 0); fleets.len()];
    for second in 0..SECONDS {
        ticks.tick().await;
        print!("{second:>3} {:>5}", calls::rate(second));
        for (fleet, before) in fleets.iter().zip(&mut before) {
            let now = (fleet.sent(), fleet.served());
            let limit = fleet
                .limit()
                .map_or("-".to_owned(), |limit| format!("{limit:.0}"));
            print!(
                " | {:>14} {:>6} {:>6} {limit:>6}",
                now.0 - before.0,
                now.1 - before.1,
                fleet.queue(),
            );
            *before = now;
        }
        println!();
    }
}

pub(crate) fn print_table(outcomes: &[Outcome]) {
    println!();
    println!(
        "{:12}{:>12}{:>22}{:>12}{:>12}",
        "", "served", "of calls since rush", "recovered", "requests"
    );
    for outcome in outcomes {
        let recovered = match outcome.recovery {
            Some(seconds) => format!("{seconds} s"),
            None => "not yet".to_owned(),
        };
        println!(
            "{:12}{:>12}{:>20.1} %{recovered:>12}{:>12}",
            outcome.name,
            outcome.served,
            outcome.served_share * 100.0,
            outcome.requests,
        );
    }
}
