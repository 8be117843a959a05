use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;
use tower_acc::Algorithm as _;
use tower_resilience_adaptive::ConcurrencyAlgorithm;

use super::{Algorithm, Manner, Sample, Seen};

type Rival = (Box<dyn Algorithm>, Manner);

/// The crate tower-acc: its own algorithms. An error is one if it is an `Err`.
struct Acc<A>(A);

impl<A: tower_acc::Algorithm> Algorithm for Acc<A> {
    fn limit(&self) -> usize {
        self.0.max_concurrency()
    }

    fn learn(&mut self, sample: &Sample) {
        let (latency, is_error) = (sample.latency(), sample.seen == Seen::Failed);
        self.0.update(latency, sample.at_end, is_error, false);
    }
}

pub(crate) fn acc_aimd() -> Rival {
    (
        Box::new(Acc(tower_acc::Aimd::default())),
        Manner::WaitAndKeep,
    )
}

pub(crate) fn acc_gradient2() -> Rival {
    (
        Box::new(Acc(tower_acc::Gradient2::default())),
        Manner::WaitAndKeep,
    )
}

pub(crate) fn acc_vegas() -> Rival {
    (
        Box::new(Acc(tower_acc::Vegas::default())),
        Manner::WaitAndKeep,
    )
}

/// The crate tower-resilience-adaptive: its own algorithms.
struct Resilience<A>(A);

impl<A: ConcurrencyAlgorithm> Algorithm for Resilience<A> {
    fn limit(&self) -> usize {
        self.0.limit()
    }

    fn learn(&mut self, sample: &Sample) {
        match sample.seen {
            Seen::Failed => self.0.record_failure(),
            // It counts before it gives the permit back.
            _ => (self.0).record_success_with_load(sample.latency(), sample.at_end + 1),
        }
    }
}

#[expect(clippy::expect_used, reason = "the crate's own defaults")]
pub(crate) fn resilience_aimd() -> Rival {
    let aimd = tower_resilience_adaptive::Aimd::builder().build();
    let aimd = aimd.expect("the defaults are valid");
    (Box::new(Resilience(aimd)), Manner::Wait)
}

#[expect(clippy::expect_used, reason = "the crate's own defaults")]
pub(crate) fn resilience_vegas() -> Rival {
    let vegas = tower_resilience_adaptive::Vegas::builder().build();
    let vegas = vegas.expect("the defaults are valid");
    (Box::new(Resilience(vegas)), Manner::Wait)
}

/// Netflix' `Gradient2Limit` with its defaults: tower-acc's port of it, with a queue of 4, behind a
/// `SimpleLimiter`, which rejects. What is in flight is counted when a call starts.
struct Netflix(tower_acc::Gradient2);

impl Algorithm for Netflix {
    fn limit(&self) -> usize {
        self.0.max_concurrency()
    }

    fn learn(&mut self, sample: &Sample) {
        self.0
            .update(sample.latency(), sample.at_start, false, false);
    }
}

pub(crate) fn netflix() -> Rival {
    let gradient = tower_acc::Gradient2::builder().queue_size(|_| 4).build();
    (Box::new(Netflix(gradient)), Manner::Reject)
}

/// The rules of the crate rate_limiter_aimd 0.1.1, which are those of Vector's adaptive request
/// concurrency: once in a round trip, one more if the limit was reached and the mean latency has not
/// grown, and a tenth less after an error, or if the latency has grown by 2.5 deviations.
struct Vector {
    limit: usize,
    /// Mean and variance of the latency, in seconds: moving averages.
    past: Option<(f64, f64)>,
    latencies: Vec<f64>,
    update_at: Option<Instant>,
    had_back_pressure: bool,
    reached_limit: bool,
}

impl Vector {
    const ALPHA: f64 = 0.4;
    const DEVIATIONS: f64 = 2.5;
    const DECREASE: f64 = 0.9;
    const MOST: usize = 200;
}

impl Algorithm for Vector {
    fn limit(&self) -> usize {
        self.limit
    }

    fn start(&mut self, in_flight: usize) {
        self.reached_limit |= in_flight >= self.limit;
    }

    fn learn(&mut self, sample: &Sample) {
        match sample.seen {
            Seen::Success => self.latencies.push(sample.latency().as_secs_f64()),
            Seen::Refused | Seen::Failed => self.had_back_pressure = true,
        }
        let mean = self.latencies.iter().sum::<f64>() / self.latencies.len() as f64;
        let current = (!self.latencies.is_empty()).then_some(mean);
        let Some((mean, variance)) = self.past else {
            if let Some(current) = current {
                self.past = Some((current, 0.0));
                self.update_at = Some(sample.now + Duration::from_secs_f64(current));
            }
            return;
        };
        if self.update_at.is_some_and(|at| sample.now < at) {
            return;
        }
        let threshold = Self::DEVIATIONS * variance.sqrt();
        let is_flat = current.is_some_and(|current| current <= mean);
        let has_grown = current.unwrap_or(0.0) >= mean + threshold;
        if self.limit < Self::MOST && self.reached_limit && !self.had_back_pressure && is_flat {
            self.limit += 1;
        } else if self.limit > 1 && (self.had_back_pressure || has_grown) {
            self.limit = ((self.limit as f64 * Self::DECREASE) as usize).max(1);
        }
        let mut next = mean;
        if let Some(current) = current {
            let difference = current - mean;
            let step = Self::ALPHA * difference;
            let variance = (1.0 - Self::ALPHA) * difference.mul_add(step, variance);
            next = mean + step;
            self.past = Some((next, variance));
        }
        self.update_at = Some(sample.now + Duration::from_secs_f64(next));
        self.latencies.clear();
        (self.had_back_pressure, self.reached_limit) = (false, false);
    }
}

pub(crate) fn vector() -> Rival {
    let vector = Vector {
        limit: 1,
        past: None,
        latencies: Vec::new(),
        update_at: None,
        had_back_pressure: false,
        reached_limit: false,
    };
    (Box::new(vector), Manner::Wait)
}

/// The rules of failsafe-go's `adaptivelimiter`, with its defaults. Once in a second, and in 50
/// samples: one or two more or less by the queue that the 90th percentile tells of, and less where
/// more in flight means more latency but not more answers.
struct Failsafe {
    limit: f64,
    recent: Vec<f64>,
    most_in_flight: usize,
    update_at: Option<Instant>,
    median: VecDeque<f64>,
    smoothed: Average,
    baseline: Average,
    throughput: Correlation,
    latency: Correlation,
}

impl Failsafe {
    const SAMPLES: usize = 50;
    const QUANTILE: f64 = 0.9;
    const MOST: f64 = 200.0;
    const MOST_FACTOR: f64 = 5.0;
    const MEDIAN_OF: usize = 5;

    fn update(&mut self, recent: f64, in_flight: f64, is_full: bool) {
        let queue = (self.limit * (1.0 - self.baseline.add(recent) / recent)).ceil();
        let throughput = in_flight / recent;
        let (of_throughput, variation) = self.throughput.add(in_flight, throughput);
        let (of_latency, _) = self.latency.add(in_flight, recent);
        let step = if self.limit < 100.0 { 1.0 } else { 2.0 };
        let falls = queue > 6.0 * step
            || is_full
                && (of_throughput < 0.0
                    || of_throughput < 0.3 && of_latency > 0.5
                    || variation < 0.2 && of_latency > 0.5);
        let mut limit = match falls {
            true => self.limit - step,
            false if queue < 3.0 * step => self.limit + step,
            false => self.limit,
        };
        if limit > in_flight * Self::MOST_FACTOR {
            limit = self.limit - step;
        }
        self.limit = limit.clamp(1.0, Self::MOST);
    }
}

impl Algorithm for Failsafe {
    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn learn(&mut self, sample: &Sample) {
        self.recent.push(sample.latency().as_secs_f64());
        self.most_in_flight = self.most_in_flight.max(sample.at_start);
        let is_early = self.update_at.is_some_and(|at| sample.now <= at);
        if is_early || self.recent.len() < Self::SAMPLES {
            return;
        }
        self.recent.sort_by(f64::total_cmp);
        let at = (self.recent.len() as f64 * Self::QUANTILE) as usize;
        let quantile = self.recent[at.min(self.recent.len() - 1)];
        self.median.push_back(quantile);
        if self.median.len() > Self::MEDIAN_OF {
            self.median.pop_front();
        }
        let mut sorted: Vec<_> = self.median.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let median = match sorted.len() < Self::MEDIAN_OF {
            true => quantile,
            false => sorted[sorted.len() / 2],
        };
        let smoothed = self.smoothed.add(median);
        // Its own permit is still in use when it looks.
        let is_full = sample.at_end + 1 >= self.limit();
        self.update(smoothed, self.most_in_flight as f64, is_full);
        let window = (2.0 * self.recent[0]).clamp(1.0, 30.0);
        self.update_at = Some(sample.now + Duration::from_secs_f64(window));
        self.recent.clear();
        self.most_in_flight = 0;
    }
}

pub(crate) fn failsafe() -> Rival {
    let failsafe = Failsafe {
        limit: 20.0,
        recent: Vec::new(),
        most_in_flight: 0,
        update_at: None,
        median: VecDeque::new(),
        smoothed: Average::new(5),
        baseline: Average::new(10),
        throughput: Correlation::default(),
        latency: Correlation::default(),
    };
    (Box::new(failsafe), Manner::Reject)
}

/// An exponential moving average that is a plain one for its first values.
struct Average {
    weight: f64,
    count: u32,
    value: f64,
}

impl Average {
    const WARM: u32 = 10;

    fn new(window: u32) -> Self {
        Self {
            weight: 2.0 / f64::from(window + 1),
            count: 0,
            value: 0.0,
        }
    }

    fn add(&mut self, value: f64) -> f64 {
        self.count += 1;
        let weight = match self.count > Self::WARM {
            true => self.weight,
            false => 1.0 / f64::from(self.count),
        };
        self.value += weight * (value - self.value);
        self.value
    }
}

/// How two values have moved together in the last 50 samples.
#[derive(Default)]
struct Correlation(VecDeque<(f64, f64)>);

impl Correlation {
    /// Their correlation, and the relative deviation of the second.
    fn add(&mut self, x: f64, y: f64) -> (f64, f64) {
        self.0.push_back((x, y));
        if self.0.len() > 50 {
            self.0.pop_front();
        }
        if self.0.len() < 10 {
            return (0.0, 0.0);
        }
        let n = self.0.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| self.0.iter().map(value).sum::<f64>() / n;
        let (x, y) = (mean(|it| it.0), mean(|it| it.1));
        let x_deviation = (mean(|it| it.0 * it.0) - x * x).max(0.0).sqrt();
        let y_deviation = (mean(|it| it.1 * it.1) - y * y).max(0.0).sqrt();
        let variation = y_deviation / y;
        if x_deviation / x < 0.01 || variation < 0.01 {
            return (0.0, variation);
        }
        let covariance = mean(|it| it.0 * it.1) - x * y;
        (covariance / (x_deviation * y_deviation), variation)
    }
}

impl Sample {
    fn latency(&self) -> Duration {
        self.now - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand attempts, one each 10 ms, with this latency and so many in flight. They begin
    /// after `from` seconds.
    fn learn(rival: &mut Rival, from: u64, latency: u64, in_flight: usize, seen: Seen) -> usize {
        let start = Instant::now() + Duration::from_secs(from);
        for n in 0..1_000 {
            rival.0.start(in_flight);
            let start = start + Duration::from_millis(10 * n);
            rival.0.learn(&Sample {
                now: start + Duration::from_millis(latency),
                start,
                seen,
                at_start: in_flight,
                at_end: in_flight - 1,
            });
        }
        rival.0.limit()
    }

    #[test]
    fn a_server_at_ease_raises_every_limit() {
        for mut rival in [netflix(), failsafe(), resilience_aimd(), acc_aimd()] {
            let at_first = rival.0.limit();
            assert!(learn(&mut rival, 0, 50, 200, Seen::Success) > at_first);
        }
    }

    #[test]
    fn vector_grows_by_one_in_a_round_trip_and_falls_by_a_tenth_of_it() {
        let mut vector = vector();
        // 10 s have 200 round trips, but the limit grows only if the mean latency has not.
        let grown = learn(&mut vector, 0, 50, 300, Seen::Success);
        assert!((150..=200).contains(&grown), "{grown}");
        assert_eq!(learn(&mut vector, 20, 50, 300, Seen::Failed), 1);
    }

    #[test]
    fn failsafe_moves_by_one_in_a_second_and_falls_with_a_queue() {
        let mut failsafe = failsafe();
        let grown = learn(&mut failsafe, 0, 50, 20, Seen::Success);
        assert!((28..=31).contains(&grown), "{grown}");
        assert!(learn(&mut failsafe, 20, 500, 20, Seen::Success) < grown);
    }
}
