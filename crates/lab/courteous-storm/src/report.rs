use std::{borrow::Cow, io};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_service::Service;

use crate::{
    Metrics, Requirements, Scenario, Tick, Transport, fleet,
    log::{Call, Log},
    oracle::oracle,
};

/// How a stack did in a scenario.
#[derive(Clone, Debug)]
pub struct Report {
    scenario: Scenario,
    stack: Cow<'static, str>,
    metrics: Metrics,
    oracle: Metrics,
    /// The results of the runs with further seeds, if the result is a mean.
    seeds: Vec<Metrics>,
    log: Log,
}

/// Runs `scenario` with your own stack. `stack` puts it around the transport: once for each client
/// process, and in scenarios with several tiers once for each tier that calls another.
///
/// The run has its own runtime, so start it outside any runtime. It gives the same result each time
/// if the stack draws all its random numbers from the [seed](Requirements::seed), and takes its time from
/// Tokio's clock.
///
/// # Errors
///
/// If no runtime can be created.
pub fn run<F, S, RB>(scenario: &Scenario, stack: F) -> io::Result<Report>
where
    F: Fn(Transport, &Requirements) -> S,
    S: Service<Request<Full<Bytes>>, Response = Response<RB>> + Clone + 'static,
{
    let log = fleet::run(scenario, stack)?;
    Ok(Report {
        scenario: scenario.clone(),
        stack: "own".into(),
        metrics: Metrics::of(scenario, &log),
        oracle: Metrics::of(scenario, &oracle(scenario)),
        seeds: Vec::new(),
        log,
    })
}

impl Report {
    /// The report on a stack in a scenario, if it is among `reports`.
    pub(crate) fn find<'a>(
        reports: &'a [Self],
        scenario: &str,
        clients: usize,
        stack: &str,
    ) -> Option<&'a Self> {
        reports.iter().find(|report| {
            let at = &report.scenario;
            at.id() == scenario && at.clients() == clients && report.stack == stack
        })
    }

    /// The same report, under a name.
    #[must_use]
    pub fn with_stack(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.stack = name.into();
        self
    }

    /// One report for the runs of several seeds, with the timeline of the first run.
    pub(crate) fn mean(reports: &[Self]) -> Option<Self> {
        let mut mean = reports.first()?.clone();
        if reports.len() > 1 {
            let oracles: Vec<_> = reports.iter().map(|it| it.oracle).collect();
            mean.seeds = reports.iter().map(|it| it.metrics).collect();
            mean.metrics = Metrics::mean(&mean.seeds);
            mean.oracle = Metrics::mean(&oracles);
        }
        Some(mean)
    }

    #[cfg(test)]
    pub(crate) const fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The results of the single runs, if this is a mean.
    pub(crate) fn seeds(&self) -> &[Metrics] {
        &self.seeds
    }

    /// The scenario that was run.
    #[must_use]
    pub const fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The name of the stack.
    #[must_use]
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// The result.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The result of an all-knowing dispatcher.
    #[must_use]
    pub const fn oracle(&self) -> &Metrics {
        &self.oracle
    }

    /// The score: 1 is as good as the oracle.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.metrics.score(&self.oracle)
    }

    /// How many attempts were sent in each second of the run. With several tiers, only attempts to
    /// the last tier count.
    #[must_use]
    pub fn attempts_per_second(&self) -> &[u32] {
        &self.log.attempts
    }

    /// How many calls succeeded in each second.
    pub(crate) fn successes(&self) -> Vec<u32> {
        successes(&self.log)
    }

    /// The same for an all-knowing dispatcher.
    pub(crate) fn successes_of_oracle(&self) -> Vec<u32> {
        successes(&oracle(&self.scenario))
    }

    /// How many calls began in each second.
    pub(crate) fn offered(&self) -> Vec<u32> {
        by_second(self.log.calls.iter().map(|call| call.start))
    }

    /// When each retry was sent, and how long after the previous attempt.
    pub(crate) fn spacings(&self) -> &[(Tick, Tick)] {
        &self.log.spacings
    }

    /// The seconds until the last attempt.
    pub(crate) const fn seconds(&self) -> usize {
        self.log.attempts.len()
    }
}

fn successes(log: &Log) -> Vec<u32> {
    let well = |call: &Call| call.end.filter(|(_, well)| *well).map(|(end, _)| end);
    by_second(log.calls.iter().filter_map(well))
}

fn by_second(instants: impl Iterator<Item = Tick>) -> Vec<u32> {
    let mut seconds = Vec::new();
    for at in instants {
        let second = (at / 1000) as usize;
        if seconds.len() <= second {
            seconds.resize(second + 1, 0);
        }
        seconds[second] += 1;
    }
    seconds
}
