//! Group 3: a crowd that waits at one throttle, and at one concurrency limit.

mod crowd;
mod limits;
mod log;
mod throttles;

use std::{io, time::Duration};

use self::{
    crowd::{Joins, Outcome, drain, heap_per_waiter},
    log::Recorder,
};
use super::Effort;
use crate::{
    contenders::OURS,
    kit::{Spread, Table, to_best},
};

/// The pace that a throttle must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    per_second: u32,
    burst: u32,
}

impl Pace {
    /// The pace that is measured.
    const FAST: Self = Self {
        per_second: 20_000,
        burst: 200,
    };
    /// How long a waiter waits for a token when no waiter may get through.
    const PARKED: Duration = Duration::from_secs(10_000);
}

/// A way to wait: a name, and a function that makes a service of it around the recorder. The
/// service lets all tasks wait, or not.
struct Contender {
    who: &'static str,
    open: fn(parked: bool, Recorder) -> Joins,
}

/// How many tasks wait, and how often that is measured.
struct Size {
    waiters: u32,
    rounds: usize,
}

/// The tables of the group.
pub(crate) fn run(effort: Effort) -> io::Result<String> {
    let size = Size {
        waiters: effort.of(20_000, 100_000) as u32,
        rounds: effort.of(1, 3),
    };
    let throttles = throttles::contenders();
    let limits = limits::contenders();
    let mut text = format!(
        "{} tasks wait at one throttle of {} a second, burst {}:\n\n{}\n",
        size.waiters,
        Pace::FAST.per_second,
        Pace::FAST.burst,
        throttle_table(&measure(&throttles, &size, size.waiters)?),
    );
    text += &format!(
        "{} tasks wait at one concurrency limit of {}, and are in flight for one turn of the scheduler:\n\n{}\n",
        size.waiters,
        limits::LIMIT,
        limit_table(&measure(&limits, &size, size.waiters)?),
    );
    // Only ours, with ten times as many tasks. The same number gets through as before, so that
    // nearly all tasks wait all the time.
    let million = Size {
        waiters: 10 * size.waiters,
        rounds: 1,
    };
    let ours = |contenders: Vec<Contender>| -> Vec<Contender> {
        let ours = contenders.into_iter();
        ours.filter(|contender| contender.who == OURS).collect()
    };
    text += &format!(
        "{} tasks wait, and {} are let through; the throttle, and then the limit:\n\n{}\n{}",
        million.waiters,
        size.waiters,
        throttle_table(&measure(&ours(throttles), &million, size.waiters)?),
        limit_table(&measure(&ours(limits), &million, size.waiters)?),
    );
    Ok(text)
}

/// What was measured of one contender, by rounds.
struct Measured {
    who: &'static str,
    heap: Vec<f64>,
    outcomes: Vec<Outcome>,
}

fn measure(contenders: &[Contender], size: &Size, grants: u32) -> io::Result<Vec<Measured>> {
    let mut all: Vec<_> = contenders
        .iter()
        .map(|contender| Measured {
            who: contender.who,
            heap: Vec::new(),
            outcomes: Vec::new(),
        })
        .collect();
    for _ in 0..size.rounds {
        for (contender, measured) in contenders.iter().zip(&mut all) {
            let heap = heap_per_waiter(contender, size.waiters)?;
            measured.heap.push(heap);
            let outcome = drain(contender, size.waiters, grants)?;
            measured.outcomes.push(outcome);
        }
    }
    Ok(all)
}

impl Measured {
    /// Whether the contender keeps the pace: never more than is allowed, and nearly all of it, in
    /// the order of arrival.
    fn keeps(&self, pace: Pace) -> bool {
        self.of(|outcome| outcome.excess(pace)).median <= 100.0
            && self.of(|outcome| outcome.delivered(pace)).median >= 95.0
            && self.of(|outcome| f64::from(outcome.places_lost())).median < f64::from(pace.burst)
    }

    fn of(&self, what: impl Fn(&Outcome) -> f64) -> Spread {
        let samples: Vec<_> = self.outcomes.iter().map(what).collect();
        Spread::of(&samples)
    }

    /// The columns with which both tables begin.
    fn costs(&self) -> [String; 4] {
        [
            self.who.to_owned(),
            format!("{:.0}", Spread::of(&self.heap).median),
            format!("{:.2}", self.of(|outcome| outcome.join)),
            format!("{:.2}", self.of(|outcome| outcome.grant)),
        ]
    }
}

/// Our costs in proportion to the lowest cost of the peers that do the job.
fn ratios(all: &[Measured], does_it: impl Fn(&&Measured) -> bool) -> String {
    let Some((ours, peers)) = all.split_first().filter(|(_, peers)| !peers.is_empty()) else {
        return String::new();
    };
    let peers: Vec<_> = peers.iter().filter(does_it).collect();
    let ratio = |what: fn(&Measured) -> Spread| {
        to_best(
            what(ours).median,
            peers.iter().map(|peer| what(peer).median),
        )
    };
    format!(
        "\nOurs / best peer ({}): heap {}, CPU to join {}, CPU per grant {}.\n",
        peers
            .iter()
            .map(|peer| peer.who)
            .collect::<Vec<_>>()
            .join("; "),
        ratio(|measured| Spread::of(&measured.heap)),
        ratio(|measured| measured.of(|outcome| outcome.join)),
        ratio(|measured| measured.of(|outcome| outcome.grant)),
    )
}

fn throttle_table(all: &[Measured]) -> String {
    let mut table = Table::new(
        1,
        [
            "throttle",
            "heap per waiter, bytes",
            "CPU to join, us",
            "CPU per grant, us",
            "rate delivered, %",
            "most in 1 s",
            "most in any window, % of what is allowed",
            "places lost",
        ],
    );
    for measured in all {
        table.row(measured.costs().into_iter().chain([
            format!(
                "{:.2}",
                measured.of(|outcome| outcome.delivered(Pace::FAST))
            ),
            format!(
                "{}",
                measured.of(|outcome| outcome.most_in(Duration::from_secs(1)) as f64)
            ),
            format!("{:.1}", measured.of(|outcome| outcome.excess(Pace::FAST))),
            format!(
                "{}",
                measured.of(|outcome| f64::from(outcome.places_lost()))
            ),
        ]));
    }
    format!("{table}{}", ratios(all, |peer| peer.keeps(Pace::FAST)))
}

fn limit_table(all: &[Measured]) -> String {
    let mut table = Table::new(
        1,
        [
            "concurrency limit",
            "heap per waiter, bytes",
            "CPU to join, us",
            "CPU per grant, us",
            "places lost",
        ],
    );
    for measured in all {
        table.row(measured.costs().into_iter().chain([format!(
            "{}",
            measured.of(|outcome| f64::from(outcome.places_lost()))
        )]));
    }
    format!("{table}{}", ratios(all, |_| true))
}
