//! The learned baseline: the latency of an attempt that no queue has delayed.
//!
//! ```text
//!              median below it: half of the way down
//!            +--------------------------------------+
//!            v                                      |
//!  first --> baseline -- epoch without a mark, and no call held back: up, within a minute or so
//!   epoch    |   ^  |
//!            |   |  +-- epoch with a mark: (nearly) frozen
//!            |   |
//!            |   +-- 3 time-outs, and 25 % of the latest outcomes: back to the old one (revert)
//!            v   |
//!   6 late answers in a row over 5 s: their median is the new baseline (escape)
//! ```
//!
//! # Invariant
//!
//! The baseline is finite and not negative. It rises in time, never with the number of answers: a
//! queue that grows within seconds cannot teach itself as normal.
//!
//! # Example
//!
//! Attempts take 50 ms, so answers are late from 250 ms on (a tolerance of 5).
//!
//! - The server becomes slower for good, and takes 320 ms for each. Every answer is late. After 6 of
//!   them, over 5 s, the baseline is 320 ms, and the limit grows again.
//! - The server is overloaded instead, and our calls wait for 400 ms in its queue. As soon as clients
//!   hold back, some answers are timely again; those end the run, and the baseline stays.
//!
//! # Why
//!
//! A limit has to tell a server that became slower from one that has a queue, and both look the same
//! in one answer. In a queue that clients share and hold back from, late answers alternate with
//! timely ones; after a real step, nothing is timely. A wrong escape lets the queue grow until
//! attempts time out, and is taken back then, for four times as long each time.

use crate::{samples::Samples, window::Window};

/// An epoch ends with so many answers after so many seconds; or with few, after longer.
const EPOCH: [(usize, f64); 2] = [(20, 1.0), (5, 10.0)];
/// How slowly the baseline rises, in seconds: by 63 % of the way in this time.
const RISE: f64 = 60.0;
/// How much slower it rises in an epoch with marks, or in which a call was held back.
const FROZEN: f64 = 100.0;
/// From so many answers on, the baseline counts as known.
pub(crate) const KNOWN_FROM: u64 = 4;
/// Whether latency is flat is known from so many answers on.
pub(crate) const FLAT_FROM: u64 = 5;
/// A run of late answers becomes the baseline after so many answers and seconds.
const RUN: (usize, f64) = (6, 5.0);
/// The share of time-outs that a run may have.
const RUN_TIMEOUTS: f64 = 0.2;
/// So many time-outs, and such a share of the latest outcomes, take an escape back.
const REVERT: (f64, f64) = (3.0, 0.25);
/// The latest outcomes are those of so many seconds; or of so many attempt timeouts, if that is more: a
/// client with one attempt in flight needs three of them to see three time-outs.
const LATEST: (f64, f64) = (10.0, 4.0);
/// An escape that was taken back makes the next one so much slower, up to so much in all.
const PATIENCE: (f64, f64) = (4.0, 64.0);
/// The time without marks in which that is halved, in seconds.
const PATIENCE_HALVES: f64 = 600.0;
/// How many answers of a run its median is made of.
const RUN_KEPT: usize = 64;

/// What an attempt says of the server's latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Seen {
    /// It was answered.
    Answer { is_late: bool },
    /// It timed out.
    Timeout,
    /// The server said that it is overloaded.
    Overload,
}

#[derive(Clone, Debug)]
pub(crate) struct Baseline {
    /// In seconds; 0 before the first answer.
    value: f64,
    answers: u64,
    epochs: u64,
    epoch_from: f64,
    epoch: Samples,
    /// The latencies of the last answers, as a ring.
    last: [f64; FLAT_FROM as usize],
    run: Run,
    escape: Option<Escape>,
    /// By how much longer than at first a run has to be.
    patience: f64,
}

/// Late answers with no timely one between them.
#[derive(Clone, Debug, Default)]
struct Run {
    answers: usize,
    timeouts: usize,
    from: f64,
    /// The last latencies, as a ring.
    latencies: Vec<f64>,
}

/// An escape that stands.
#[derive(Clone, Debug)]
struct Escape {
    old: f64,
    outcomes: Window,
    bad: Window,
}

/// What became of the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// Nothing that the limit has to know.
    None,
    /// A run of late answers has become the baseline: the limit may grow quickly.
    Escaped,
    /// The last escape was wrong, and the old baseline is back.
    Reverted,
}

impl Baseline {
    pub(crate) fn new() -> Self {
        Self {
            value: 0.0,
            answers: 0,
            epochs: 0,
            epoch_from: 0.0,
            epoch: Samples::default(),
            last: [0.0; FLAT_FROM as usize],
            run: Run::default(),
            escape: None,
            patience: 1.0,
        }
    }

    /// In seconds; 0 before the first answer.
    pub(crate) const fn value(&self) -> f64 {
        self.value
    }

    pub(crate) const fn answers(&self) -> u64 {
        self.answers
    }

    pub(crate) const fn is_known(&self) -> bool {
        self.answers >= KNOWN_FROM
    }

    /// Whether the median of the last five answers is below twice the baseline. So it is while there
    /// are fewer.
    pub(crate) fn is_flat(&self) -> bool {
        if self.answers < FLAT_FROM {
            return true;
        }
        let mut last = self.last;
        last.sort_by(f64::total_cmp);
        last[2] < 2.0 * self.value
    }

    /// Hears of an outcome. `latency` is that of an answer, in seconds.
    /// `timeout` is the attempt timeout, if it is known.
    pub(crate) fn watch(
        &mut self,
        seen: Seen,
        latency: f64,
        now: f64,
        timeout: Option<f64>,
    ) -> Change {
        if !self.is_known() {
            return Change::None;
        }
        if self.is_escape_wrong(seen, now) {
            return Change::Reverted;
        }
        match seen {
            Seen::Answer { is_late: false } | Seen::Overload => self.run.end(),
            Seen::Answer { is_late: true } => {
                self.run.add(latency, now);
                if self.run.is_long(self.patience, now)
                    && let Some(median) = self.run.median()
                {
                    let (least, timeouts) = LATEST;
                    let latest = Window::new(least.max(timeouts * timeout.unwrap_or(0.0)));
                    self.escape = Some(Escape {
                        old: self.value,
                        outcomes: latest.clone(),
                        bad: latest,
                    });
                    self.value = median;
                    self.run.end();
                    return Change::Escaped;
                }
            }
            Seen::Timeout => self.run.add_timeout(),
        }
        Change::None
    }

    fn is_escape_wrong(&mut self, seen: Seen, now: f64) -> bool {
        let Some(escape) = &mut self.escape else {
            return false;
        };
        let (least, share) = REVERT;
        escape.outcomes.add(now);
        if !matches!(seen, Seen::Answer { .. }) {
            escape.bad.add(now);
        }
        let bad = escape.bad.total(now);
        if bad < least || bad < share * escape.outcomes.total(now) {
            return false;
        }
        self.value = self.value.min(escape.old);
        self.escape = None;
        let (factor, most) = PATIENCE;
        self.patience = (self.patience * factor).min(most);
        self.run.end();
        true
    }

    /// Learns from an answer that took `latency` seconds.
    ///
    /// `held_back` is when the limit last held a call back, and `marked` when it last saw a mark.
    pub(crate) fn learn(&mut self, latency: f64, now: f64, marked: f64, held_back: f64) {
        self.last[(self.answers % FLAT_FROM) as usize] = latency;
        self.answers += 1;
        if self.answers == 1 {
            (self.value, self.epoch_from) = (latency, now);
        } else if self.epochs == 0 {
            self.value += (latency - self.value) / self.answers as f64;
        }
        self.epoch.push(latency);
        let (seen, time) = (self.epoch.seen(), now - self.epoch_from);
        if !EPOCH
            .iter()
            .any(|&(least, after)| seen >= least && time >= after)
        {
            return;
        }
        let Some(median) = self.epoch.median() else {
            return;
        };
        let is_calm = marked <= self.epoch_from && held_back <= self.epoch_from;
        if self.epochs == 0 {
            self.value = median;
        } else if median < self.value {
            self.value += 0.5 * (median - self.value);
        } else {
            let slowness = if is_calm { RISE } else { RISE * FROZEN };
            self.value += -(-time / slowness).exp_m1() * (median - self.value);
        }
        if is_calm {
            self.patience = (self.patience * (-time / PATIENCE_HALVES).exp2()).max(1.0);
        }
        self.epochs += 1;
        self.epoch_from = now;
        self.epoch.clear();
    }
}

impl Run {
    fn add(&mut self, latency: f64, now: f64) {
        if self.answers == 0 {
            self.from = now;
        }
        match self.latencies.get_mut(self.answers % RUN_KEPT) {
            Some(oldest) => *oldest = latency,
            None => self.latencies.push(latency),
        }
        self.answers += 1;
    }

    fn add_timeout(&mut self) {
        self.timeouts += 1;
        if self.timeouts >= 3 && self.timeouts as f64 > RUN_TIMEOUTS * self.answers as f64 {
            self.end();
        }
    }

    fn is_long(&self, patience: f64, now: f64) -> bool {
        let (least, time) = RUN;
        self.answers >= least
            && now - self.from >= time * patience
            && self.timeouts as f64 <= RUN_TIMEOUTS * self.answers as f64
    }

    fn median(&self) -> Option<f64> {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    fn end(&mut self) {
        (self.answers, self.timeouts) = (0, 0);
        self.latencies.clear();
    }
}
