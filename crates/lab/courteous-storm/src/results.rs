use std::{collections::BTreeMap, fmt};

use crate::{Metrics, Report, Scenario, Stack};

/// The results of a [`Suite`](crate::Suite). Its text is the table.
#[derive(Clone, Debug)]
pub struct Results {
    reports: Vec<Report>,
}

impl Results {
    pub(crate) const fn new(reports: Vec<Report>) -> Self {
        Self { reports }
    }

    /// All reports: scenario by scenario, in the order of the suite.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The report on a stack in a scenario.
    #[must_use]
    pub fn find(&self, scenario: &str, clients: usize, stack: Stack) -> Option<&Report> {
        Report::find(&self.reports, scenario, clients, stack.name())
    }

    /// A short table in Markdown, of the stacks that were run in all scenarios. A cell has the
    /// share of the calls that was served, or how long a batch took; the attempts for each call;
    /// and the recovery, if there was trouble. The last line is the score.
    #[must_use]
    pub fn summary(&self) -> String {
        let stacks: Vec<_> = self.scores().into_iter().map(|(name, _)| name).collect();
        let mut lines = vec![
            format!("| | clients | oracle | {} |", stacks.join(" | ")),
            format!("|---|---:|---:{}|", "|---:".repeat(stacks.len())),
        ];
        let same = |a: &Report, b: &Report| {
            (a.scenario().id(), a.scenario().clients())
                == (b.scenario().id(), b.scenario().clients())
        };
        for reports in self.reports.chunk_by(same) {
            let Some(first) = reports.first() else {
                continue;
            };
            let at = first.scenario();
            let of = |name| reports.iter().find(|report| report.stack() == name);
            let cells = stacks.iter().filter_map(|name| of(*name));
            let cells = cells.map(|report| short(at, report.metrics()));
            lines.push(format!(
                "| {} | {} | {} | {} |",
                at.id(),
                at.clients(),
                done(first.oracle(), first.oracle()),
                cells.collect::<Vec<_>>().join(" | ")
            ));
        }
        let scores = self.scores();
        let scores = scores.iter().map(|(_, score)| format!("{score:.3}"));
        let scores: Vec<_> = scores.collect();
        lines.push(format!("| score | | 1 | {} |", scores.join(" | ")));
        lines.join("\n") + "\n"
    }

    /// The suite's score for each stack that was run in all of its scenarios: the geometric mean
    /// over S1 to S18, and within each of these over its variants.
    #[must_use]
    pub fn scores(&self) -> Vec<(&str, f64)> {
        scores(self.reports.iter())
    }

    /// The same over the scenarios with this many clients.
    #[must_use]
    pub fn scores_at(&self, clients: usize) -> Vec<(&str, f64)> {
        let at = move |it: &&Report| it.scenario().clients() == clients;
        scores(self.reports.iter().filter(at))
    }

    /// Where a `rival` serves at least a tenth of a percentage point more than `own`, or is faster
    /// with a batch by a hundredth; both with the same seeds.
    #[must_use]
    pub fn lost(&self, own: Stack, rival: Stack) -> Vec<(&Report, &Report)> {
        let pair = |rival: &'_ Report| {
            let at = rival.scenario();
            Some(at.id()).zip(self.find(at.id(), at.clients(), own))
        };
        let of_rival = self.reports.iter().filter(|it| it.stack() == rival.name());
        let pairs = of_rival.filter_map(|rival| Some((pair(rival)?.1, rival)));
        let is_lost = |(own, rival): &(&Report, &Report)| {
            let (own, rival) = (same_seeds(own, rival), rival.metrics());
            match (own.makespan, rival.makespan) {
                (Some(own), Some(rival)) => rival < 0.99 * own,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => rival.served >= own.served + 0.001,
            }
        };
        pairs.filter(is_lost).collect()
    }
}

impl Results {
    fn fmt_by_clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clients: Vec<_> = (self.reports.iter())
            .map(|it| it.scenario().clients())
            .collect();
        clients.sort_unstable();
        clients.dedup();
        writeln!(f, "\nThe same for each number of clients")?;
        for clients in clients {
            write!(f, "  {clients:>5}")?;
            for (name, score) in self.scores_at(clients) {
                write!(f, "  {name} {score:.3}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn fmt_lost(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = Stack::SHIPPED;
        for rival in Stack::ALL.into_iter().filter(|it| it.is_adaptive_rival()) {
            for (n, (ours, rivals)) in self.lost(own, rival).into_iter().enumerate() {
                if n == 0 {
                    writeln!(f, "\nWhere {rival} serves more than {own}")?;
                }
                let (at, oracle) = (ours.scenario(), ours.oracle());
                let done = [rivals.metrics(), same_seeds(ours, rivals)].map(|it| done(it, oracle));
                let (id, clients) = (at.id(), at.clients());
                writeln!(
                    f,
                    "  {id:<16} {clients:>5}  {} against {}",
                    done[0], done[1]
                )?;
            }
        }
        Ok(())
    }
}

/// The result of `own` with as many seeds as the `rival` had: with the first one, or with all.
fn same_seeds<'a>(own: &'a Report, rival: &Report) -> &'a Metrics {
    let first = own.seeds().first().filter(|_| rival.seeds().is_empty());
    first.unwrap_or_else(|| own.metrics())
}

fn scores<'a>(reports: impl Iterator<Item = &'a Report>) -> Vec<(&'a str, f64)> {
    let mut groups = BTreeMap::new();
    let mut stacks = Vec::new();
    for report in reports {
        if !stacks.contains(&report.stack()) {
            stacks.push(report.stack());
        }
        let group = groups
            .entry(report.scenario().group())
            .or_insert_with(BTreeMap::<_, Vec<_>>::new);
        let score = report.score().max(f64::MIN_POSITIVE);
        group.entry(report.stack()).or_default().push(score.ln());
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let scores = stacks.into_iter().filter_map(|stack| {
        let of = |group: &BTreeMap<&str, Vec<f64>>| group.get(stack).map(|it| mean(it));
        let means: Option<Vec<_>> = groups.values().map(of).collect();
        Some((stack, mean(&means?).exp()))
    });
    scores.collect()
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for report in &self.reports {
            let scenario = report.scenario();
            let this = Some((scenario.id(), scenario.clients()));
            if last != this {
                last = this;
                write!(f, "\n{}  {}; ", scenario.id(), scenario.title())?;
                writeln!(
                    f,
                    "{} clients, seed {}",
                    scenario.clients(),
                    scenario.seed()
                )?;
                let goodput = if scenario.is_batch() {
                    "done in"
                } else {
                    "served"
                };
                writeln!(
                    f,
                    "  {:<22} {goodput:>8} {:>8} {:>7} {:>6} {:>9} {:>7} {:>8} {:>8} {:>6} {:>5} {:>5} {:>6}",
                    "",
                    "goodput",
                    "att/call",
                    "peak/s",
                    "recovery",
                    "wasted",
                    "p99",
                    "429/ok",
                    "Jain",
                    "late",
                    "held",
                    "score",
                )?;
                row(f, "oracle", report.oracle(), report.oracle())?;
            }
            row(f, report.stack(), report.metrics(), report.oracle())?;
        }
        let scores = self.scores();
        if !scores.is_empty() {
            writeln!(
                f,
                "\nGeometric mean of the scores, each scenario counting once"
            )?;
        }
        for (name, score) in scores {
            let stack = Stack::ALL.iter().find(|stack| stack.name() == name);
            let origin = stack.map_or("", |stack| stack.origin());
            writeln!(f, "  {name:<22} {score:>8.3}  {origin}")?;
        }
        self.fmt_by_clients(f)?;
        self.fmt_lost(f)?;
        Ok(())
    }
}

fn done(it: &Metrics, oracle: &Metrics) -> String {
    match (oracle.makespan, it.makespan) {
        (None, _) => format!("{:.2} %", it.served * 100.0),
        (Some(_), Some(seconds)) => format!("{seconds:.2} s"),
        (Some(_), None) => "never".to_owned(),
    }
}

fn recovery(it: &Metrics) -> String {
    if it.recovered {
        format!("{:.0} s", it.recovery)
    } else {
        "never".to_owned()
    }
}

/// A cell of the short table.
fn short(at: &Scenario, it: &Metrics) -> String {
    match it.makespan {
        Some(seconds) => format!("{seconds:.1} s, {:.2}", it.attempts),
        None if at.is_batch() => format!("never, {:.2}", it.attempts),
        None if at.trigger.is_none() => format!("{:.1} %, {:.2}", it.served * 100.0, it.attempts),
        None => format!(
            "{:.1} %, {:.2}, {}",
            it.served * 100.0,
            it.attempts,
            recovery(it)
        ),
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, it: &Metrics, oracle: &Metrics) -> fmt::Result {
    let (done, recovery) = (done(it, oracle), recovery(it));
    writeln!(
        f,
        "  {name:<22} {done:>8} {:>8.3} {:>7.3} {:>6.0} {recovery:>9} {:>5.1} % {:>6.2} s {:>8.2} {:>6.3} {:>5} {:>5} {:>6.3}",
        it.goodput(oracle),
        it.attempts,
        it.peak,
        it.wasted * 100.0,
        it.p99,
        it.throttled,
        it.fairness,
        it.late,
        it.leaked,
        it.score(oracle),
    )
}
