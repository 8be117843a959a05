use std::ops::Range;

use crate::{
    Tick,
    log::{Call, Log},
    scenario::Scenario,
};

/// The result of a run. It counts the calls that began after the trouble's beginning (after 40 s if
/// there is no such moment), and all calls of batches.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// The share of the calls that succeeded.
    pub served: f64,
    /// When 99 % of a batch's jobs were done, in seconds. `None` if they never were, or if it is
    /// not a batch.
    pub makespan: Option<f64>,
    /// Attempts for each call.
    pub attempts: f64,
    /// Attempts for each call while there was trouble.
    pub attempts_in_trouble: f64,
    /// The most attempts in a second.
    pub peak: f64,
    /// How many seconds after the end of the trouble the first five seconds in a row begin in which
    /// 95 % of the calls succeed. The rest of the run if there are none; 0 for batches, and for
    /// trouble without an end.
    pub recovery: f64,
    /// Whether there were such seconds.
    pub recovered: bool,
    /// The share of the server's work that was of no use to any client.
    pub wasted: f64,
    /// How long the successful calls took, without the slowest 1 %; in seconds.
    pub p99: f64,
    /// Answers 429 for each success.
    pub throttled: f64,
    /// Jain's index over the clients, of the shares of calls that succeeded, or of the speeds at
    /// which batches were done: 1 is fair, 1/n means that one client of n has everything.
    pub fairness: f64,
    /// Calls that ended after their deadline.
    pub late: u64,
    /// Permits, tokens and budget that were still held when everything was over.
    pub leaked: u64,
}

impl Metrics {
    pub(crate) fn of(scenario: &Scenario, log: &Log) -> Self {
        let counted = scenario.counted();
        let began =
            |range: Range<Tick>| (log.calls.iter()).filter(move |call| range.contains(&call.start));
        let sent = |range: Range<Tick>| {
            let seconds = log.attempts.iter().enumerate();
            let seconds = seconds.filter(move |(s, _)| range.contains(&(*s as Tick * 1000)));
            seconds.map(|(_, sent)| *sent)
        };
        let sum = |range| sent(range).map(u64::from).sum::<u64>();
        let calls = began(counted.clone()).count();
        let mut latencies: Vec<_> = (began(counted.clone()).filter_map(succeeded))
            .map(|(start, end)| end - start)
            .collect();
        latencies.sort_unstable();
        let succeeded_in_all = log.calls.iter().filter_map(succeeded).count();
        let (recovery, recovered) = recovery(scenario, log);
        let trouble = scenario.trigger.clone().unwrap_or(counted.clone());
        Self {
            served: ratio(latencies.len(), calls),
            makespan: scenario.is_batch().then(|| makespan(log)).flatten(),
            attempts: ratio(sum(counted.clone()) as usize, calls),
            attempts_in_trouble: ratio(
                sum(trouble.clone()) as usize,
                began(trouble.clone()).count(),
            ),
            peak: sent(counted.clone()).max().unwrap_or_default().into(),
            recovery,
            recovered,
            wasted: 1.0 - ratio(log.useful as usize, log.work as usize),
            p99: seconds(percentile(&latencies, 99)),
            throttled: ratio(log.throttled as usize, succeeded_in_all),
            fairness: fairness(scenario, log),
            late: scenario.total_timeout().map_or(0, |most| {
                let late = log.calls.iter().filter(|call| is_late(call, most));
                late.count() as u64
            }),
            leaked: log.leaked,
        }
    }

    /// The average result of several runs. A batch is done if it is done in all runs. Values that
    /// must be zero are summed up.
    pub(crate) fn mean(runs: &[Self]) -> Self {
        let n = runs.len() as f64;
        let mean = |value: fn(&Self) -> f64| runs.iter().map(value).sum::<f64>() / n;
        let makespans: Option<Vec<_>> = runs.iter().map(|run| run.makespan).collect();
        Self {
            served: mean(|run| run.served),
            makespan: makespans.map(|all| all.iter().sum::<f64>() / n),
            attempts: mean(|run| run.attempts),
            attempts_in_trouble: mean(|run| run.attempts_in_trouble),
            peak: mean(|run| run.peak),
            recovery: mean(|run| run.recovery),
            recovered: runs.iter().all(|run| run.recovered),
            wasted: mean(|run| run.wasted),
            p99: mean(|run| run.p99),
            throttled: mean(|run| run.throttled),
            fairness: mean(|run| run.fairness),
            late: runs.iter().map(|run| run.late).sum(),
            leaked: runs.iter().map(|run| run.leaked).sum(),
        }
    }

    /// The score against the `oracle`: 1 is as good.
    #[must_use]
    pub fn score(&self, oracle: &Self) -> f64 {
        let excess = self.peak / oracle.peak.max(1.0);
        let load = (1.2 / excess.max(f64::MIN_POSITIVE)).min(1.0);
        self.goodput(oracle) * load * (2.0 / (2.0 + self.recovery)).powf(0.25)
    }

    /// What was served, or how fast, as a share of the `oracle`'s; at least a thousandth.
    #[must_use]
    pub fn goodput(&self, oracle: &Self) -> f64 {
        let goodput = match (oracle.makespan, self.makespan) {
            (Some(best), Some(own)) => best / own,
            (Some(_), None) => 0.0,
            (None, _) => self.served / oracle.served.max(f64::MIN_POSITIVE),
        };
        goodput.clamp(0.001, 1.0)
    }
}

/// When a call that succeeded began and ended.
fn succeeded(call: &Call) -> Option<(Tick, Tick)> {
    match call.end {
        Some((end, true)) => Some((call.start, end)),
        _ => None,
    }
}

fn is_late(call: &Call, most: Tick) -> bool {
    call.end.is_none_or(|(end, _)| end - call.start > most)
}

fn makespan(log: &Log) -> Option<f64> {
    let mut ends: Vec<_> = (log.calls.iter().filter_map(succeeded))
        .map(|(_, end)| end)
        .collect();
    ends.sort_unstable();
    let enough = (log.calls.len() * 99).div_ceil(100).max(1);
    ends.get(enough - 1).map(|end| seconds(*end))
}

/// The seconds until the recovery, and whether the fleet recovered.
fn recovery(scenario: &Scenario, log: &Log) -> (f64, bool) {
    const RUN: usize = 5;
    let Some(trigger) = scenario.trigger.clone() else {
        return (0.0, true);
    };
    let from = trigger.end.div_ceil(1000) as usize;
    let until = (scenario.end() / 1000) as usize;
    let mut seconds = vec![(0, 0); until];
    for call in &log.calls {
        if let Some((calls, well)) = seconds.get_mut((call.start / 1000) as usize) {
            *calls += 1;
            *well += usize::from(succeeded(call).is_some());
        }
    }
    let good = |&(calls, well): &(usize, usize)| well * 100 >= calls * 95;
    let after = seconds.get(from..).unwrap_or_default();
    let first = after.windows(RUN).position(|run| run.iter().all(good));
    (first.unwrap_or(after.len()) as f64, first.is_some())
}

fn fairness(scenario: &Scenario, log: &Log) -> f64 {
    #[derive(Clone, Copy, Default)]
    struct Share {
        calls: u32,
        well: u32,
        last: Tick,
    }
    let mut shares = vec![Share::default(); scenario.clients];
    for call in &log.calls {
        if let Some(share) = shares.get_mut(call.client as usize) {
            share.calls += 1;
            if let Some((_, end)) = succeeded(call) {
                share.well += 1;
                share.last = share.last.max(end);
            }
        }
    }
    let value = |share: &Share| {
        let well = ratio(share.well as usize, share.calls as usize);
        if scenario.is_batch() {
            well / seconds(share.last.max(1))
        } else {
            well
        }
    };
    let values = || shares.iter().filter(|share| share.calls > 0).map(value);
    let (sum, squares) = values().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (values().count() as f64 * squares)
}

/// Of sorted values.
fn percentile(sorted: &[Tick], percent: usize) -> Tick {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn seconds(ticks: Tick) -> f64 {
    ticks as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::TOTAL_TIMEOUT;

    fn spike() -> Scenario {
        let mut all = crate::catalogue().into_iter();
        all.find(|scenario| scenario.id() == "S1").unwrap()
    }

    /// Each of two clients makes a call every 100 ms. The calls at `bad` instants fail; all calls
    /// take 50 ms.
    fn log(bad: impl Fn(u32, Tick) -> bool) -> Log {
        let mut log = Log::default();
        for at in (0..180_000).step_by(100) {
            for client in 0..2 {
                let call = log.start(client, at);
                log.attempted(call, at);
                log.sent(at);
                log.end(call, at + 50, !bad(client as u32, at));
            }
        }
        log
    }

    #[test]
    fn recovery_is_the_first_of_five_good_seconds_after_the_trouble() {
        // The spike ends at 50 s; four good seconds from 52 s on are not enough.
        let log = log(|_, at| at < 52_000 || (56_000..57_000).contains(&at));
        let it = Metrics::of(&spike(), &log);
        assert_eq!((it.recovery, it.recovered), (7.0, true));
    }

    #[test]
    fn what_does_not_come_back_takes_the_rest_of_the_run() {
        let it = Metrics::of(&spike(), &log(|_, at| at > 100_000 || at % 1000 == 0));
        assert_eq!((it.recovery, it.recovered), (130.0, false));
    }

    #[test]
    fn shares_are_counted_from_the_beginning_of_the_trouble() {
        let it = Metrics::of(&spike(), &log(|_, at| !(40_000..145_000).contains(&at)));
        assert_eq!((it.served, it.attempts, it.peak), (0.75, 1.0, 20.0));
        assert_eq!((it.p99, it.late), (0.05, 0));
    }

    #[test]
    fn one_of_two_is_half_fair() {
        let it = Metrics::of(&spike().with_clients(2), &log(|client, _| client == 0));
        assert_eq!(it.fairness, 0.5);
    }

    #[test]
    fn a_call_that_ends_after_its_deadline_or_never_is_late() {
        let mut log = log(|_, _| false);
        let (late, _never) = (log.start(0, 0), log.start(1, 0));
        log.end(late, TOTAL_TIMEOUT + 1, true);
        assert_eq!(Metrics::of(&spike(), &log).late, 2);
    }

    #[test]
    fn the_score_of_the_oracle_is_one_and_each_fault_lowers_it() {
        let best = Metrics::of(&spike(), &log(|_, _| false));
        assert_eq!(best.score(&best), 1.0);
        let half = Metrics {
            served: 0.5,
            ..best
        };
        let loud = Metrics {
            peak: best.peak * 2.4,
            ..best
        };
        let slow = Metrics {
            recovery: 30.0,
            ..best
        };
        let scores = [half, loud, slow].map(|it| it.score(&best));
        assert_eq!(scores, [0.5, 0.5, 0.5]);
    }
}
