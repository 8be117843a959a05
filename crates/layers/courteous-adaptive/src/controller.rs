//! How many attempts may be in flight: the limit of one server, learned from what attempts say.
//!
//! ```text
//!                answer in time, limit used: + 1, from the last cut on + 1/limit
//!              +------------------------------------------------------------+
//!              v                                                            |
//!   20 --> limit >= 1:  in flight < limit  ---- mark, at most one each ---> cut: x 0.8 (mild)
//!              |  ^                             round trip                       x 0.35 (severe)
//!              v  | answer in time: x 3; time: x 2 each 3 s                 |
//!          limit < 1 (paced):  none in flight, and one token; <-------------+
//!                              tokens come at limit / latency
//! ```
//!
//! # Marks
//!
//! A *mark* is evidence that the server has more to do than it can: an attempt timeout, a 503, or an
//! answer later than five times the [baseline](crate::baseline). Whatever was overtaken is none: an
//! attempt that started before another one that has come back in time was lost or slow alone, as in a
//! queue no attempt is overtaken. Nor is a 429, which tells of a quota, or a connection that was
//! refused.
//!
//! # Invariant
//!
//! `min <= limit <= max`, and the limit is a number. After a cut it is at least what lets a tenth of
//! the offered calls through (a quarter after a mild one), and at least one call in ten seconds. So a
//! server that is well again is always noticed. A flood or a burst does not count as offered: only as
//! many calls do as the server bore before. A tenth of a flood can be more than it can do.
//!
//! # Example
//!
//! A client makes 10 calls a second, of 50 ms each: it needs half a call in flight. The limit is at 20.
//! The server stalls, and an attempt times out.
//!
//! | what happens | limit | why |
//! |---|---|---|
//! | one of one outcomes is a time-out: severe | 0.35 | 0.35 of what is in use: twice 10/s x 50 ms, at least 1 |
//! | 3 s without an answer | 0.7 | time doubles it |
//! | an answer in time | 1 | three times, but 1 at most |
//! | further answers in time, in use | 2, 3, ... | one each, up to the limit before the cut |
//!
//! At a limit of 0.35 and a latency of 50 ms, a token comes each 143 ms, so 7 of 10 calls a second
//! are sent.
//!
//! # Why below one
//!
//! A thousand clients with one call each in flight are a thousand in flight. No limit of at least one
//! can hold such a fleet back.

use crate::{
    baseline::{Baseline, Change, FLAT_FROM, KNOWN_FROM, Seen},
    window::Window,
};

/// The limit before the first answer.
const INITIAL: f64 = 20.0;
/// What a cut leaves.
const MILD: f64 = 0.8;
const SEVERE: f64 = 0.35;
/// From such a share of bad outcomes within so many seconds on, a time-out or a 503 is severe.
const SEVERE_SHARE: (f64, f64) = (0.15, 2.0);
/// A cut starts from what is in use, times this, if that is less than the limit.
const USED: f64 = 2.0;
/// The part of the offered calls that a cut lets through, after a mild one and after a severe one.
const LEAST_SHARE: (f64, f64) = (0.25, 0.1);
/// A share of what the server bore is a share of at least so many calls a second. A client with few
/// calls sees too little in a few seconds to tell.
const LEAST_BORNE: f64 = 5.0;
/// The part of what the server bore that still counts at the next mark.
const BORNE_KEPT: f64 = 0.9;
/// The least number of calls that are let through in a second.
const LEAST_RATE: f64 = 0.1;
/// How long the window is in which calls are counted, in seconds; and its last second, in parts.
const RATE: (f64, usize) = (4.0, 4);
/// How a limit below one grows: times so much for an answer, and twice in so many seconds.
const RECOVERY: (f64, f64) = (3.0, 3.0);
/// An answer that took longer than so many baselines grows nothing.
const GROWS_BELOW: f64 = 9.0;
/// Late answers are marks from so many answers on.
const LATE_FROM: u64 = 10;
/// So many time-outs in a row allow pacing before there are answers.
const TIMEOUTS: u32 = 8;
/// An answer is late at this share of the attempt timeout, but not below so many baselines.
const LATE_BY_TIMEOUT: (f64, f64) = (0.7, 1.3);
/// The weights of the newest value in moving averages: of latency, and of success.
const LATENCY_WEIGHT: f64 = 0.2;
const SUCCESS_WEIGHT: f64 = 0.1;
/// From such a share of successes on, the server counts as well.
const SUCCESS_SHARE: f64 = 0.5;
/// No wait for a token is longer, in seconds.
const LONGEST_WAIT: f64 = 2.0;
/// No latency counts as shorter, in seconds.
const LEAST_LATENCY: f64 = 0.001;

/// What was learned from a server is kept for so many seconds after the last call.
const REST: f64 = 60.0;

/// What became of an attempt, for the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server answered: with success or not, but not that it has too much to do.
    Answered { is_success: bool },
    /// The server said that it has too much to do, as a 503 does.
    Overloaded,
    /// No answer came within the attempt timeout, or before the call's deadline.
    TimedOut,
    /// The caller gave up before its deadline. That tells as much as a late answer, if one would be
    /// late by then, and else nothing.
    Dropped,
    /// It says nothing of the server's load: a quota, a connection that was not made, our own rejection.
    Unknown,
}

/// How much the server has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Calm,
    /// Too few answers to tell.
    Unknown,
    Raised,
    Overloaded,
}

/// What a call that asks for admission gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Admission {
    /// A permit. The attempt [starts](Controller::start) when it is sent.
    Admitted,
    /// As many are in flight as the limit allows.
    Full,
    /// The next token comes then, in seconds.
    Paced(f64),
}

/// An attempt in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Flight {
    /// When it started, in seconds.
    started: f64,
    /// How many were in flight then, itself included.
    beside: usize,
}

impl Flight {
    /// The same attempt, if it was sent at `sent` only: another layer held it back until then.
    pub(crate) const fn sent_at(self, sent: f64) -> Self {
        let started = self.started.max(sent);
        Self { started, ..self }
    }
}

/// What the limit may be, and what is late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// An answer is late if it took longer than so many baselines.
    pub(crate) tolerance: f64,
    /// In seconds, if it is known.
    pub(crate) attempt_timeout: Option<f64>,
}

/// The limit of one server. It is told the time, in seconds, and has no lock and no clock.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    bounds: Bounds,
    limit: f64,
    /// Up to here the limit grows by one for each answer.
    threshold: f64,
    /// Whether the baseline has just followed a step, and the limit has not yet.
    is_following: bool,
    pinned: Option<f64>,
    baseline: Baseline,
    /// A moving average of the latency of attempts, time-outs included.
    latency: f64,
    success: f64,
    in_flight: usize,
    tokens: f64,
    tokens_at: f64,
    /// When the last cut was, and when the last mark, severe mark and call that was held back were.
    cut_at: f64,
    marked_at: f64,
    severe_at: f64,
    held_back_at: f64,
    /// The latest start of an attempt that came back in time.
    proven: f64,
    offered: Window,
    /// How many calls were offered in a second when last there was a mark and no call had been held
    /// back: what the server bore. Infinite before that.
    borne: f64,
    sent: Window,
    outcomes: Window,
    bad: Window,
    timeouts: u32,
    /// When a call last asked to be admitted.
    used_at: f64,
}

/// Before any time.
const NEVER: f64 = f64::NEG_INFINITY;

impl Controller {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            limit: INITIAL.clamp(bounds.min, bounds.max),
            threshold: f64::INFINITY,
            is_following: false,
            pinned: None,
            baseline: Baseline::new(),
            latency: 0.0,
            success: 1.0,
            in_flight: 0,
            tokens: 1.0,
            tokens_at: 0.0,
            cut_at: NEVER,
            marked_at: NEVER,
            severe_at: NEVER,
            held_back_at: NEVER,
            proven: NEVER,
            offered: Window::new(RATE.0),
            borne: f64::INFINITY,
            sent: Window::new(RATE.0),
            outcomes: Window::new(SEVERE_SHARE.1),
            bad: Window::new(SEVERE_SHARE.1),
            timeouts: 0,
            used_at: NEVER,
        }
    }

    /// The limit: what it is pinned to, or what was learned.
    pub(crate) fn limit(&self) -> f64 {
        self.pinned.unwrap_or(self.limit)
    }

    /// Holds the limit at a value, or lets it go. It is learned all the same.
    pub(crate) const fn pin(&mut self, limit: Option<f64>) {
        self.pinned = limit;
    }

    pub(crate) const fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.limit = self.limit.clamp(bounds.min, bounds.max);
    }

    pub(crate) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// In seconds; 0 before the first answer.
    pub(crate) const fn baseline(&self) -> f64 {
        self.baseline.value()
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether it may be forgotten: no attempt is in flight, and no call has come for a minute.
    pub(crate) fn is_at_rest(&self, now: f64) -> bool {
        self.in_flight == 0 && now - self.used_at >= REST && self.pinned.is_none()
    }

    /// How much the server has to do, as far as attempts tell.
    pub(crate) fn load(&self, now: f64) -> Load {
        if self.success >= SUCCESS_SHARE && self.baseline.is_flat() {
            return match self.baseline.answers() < FLAT_FROM {
                true => Load::Unknown,
                false => Load::Calm,
            };
        }
        let round_trip = self.latency.max(self.baseline.value());
        match self.limit < 1.0 || now - self.severe_at <= round_trip {
            true => Load::Overloaded,
            false => Load::Raised,
        }
    }

    /// Counts a call that asks to be admitted, once for each.
    pub(crate) fn offer(&mut self, now: f64) {
        self.offered.add(now);
        self.used_at = now;
    }

    /// Admits an attempt, if the limit allows.
    pub(crate) fn admit(&mut self, now: f64) -> Admission {
        self.advance(now);
        let limit = self.limit();
        if limit >= 1.0 {
            if self.in_flight as f64 >= (limit + 1e-9).floor() {
                self.held_back_at = now;
                return Admission::Full;
            }
        } else {
            if self.in_flight > 0 {
                self.held_back_at = now;
                return Admission::Full;
            }
            if self.tokens < 1.0 {
                self.held_back_at = now;
                let wait = (1.0 - self.tokens) / self.pace(now);
                return Admission::Paced(now + wait.clamp(0.001, LONGEST_WAIT));
            }
            self.tokens -= 1.0;
        }
        self.admit_beyond(now);
        Admission::Admitted
    }

    /// Admits an attempt whatever the limit says: of a call that is only observed.
    pub(crate) fn admit_beyond(&mut self, now: f64) {
        self.in_flight += 1;
        self.sent.add(now);
    }

    /// The attempt that was admitted is sent at `now`.
    pub(crate) const fn start(&self, now: f64) -> Flight {
        Flight {
            started: now,
            beside: self.in_flight,
        }
    }

    /// Takes an admission back: its call was never sent.
    pub(crate) fn unsend(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.tokens = (self.tokens + 1.0).min(1.0);
        self.sent.take_back();
    }

    /// Learns from an attempt that is over as far as its latency goes: its head is there, or it has
    /// failed. It stays in flight until it is [released](Self::release).
    pub(crate) fn hear(&mut self, flight: Flight, outcome: Outcome, now: f64) {
        let latency = (now - flight.started).max(0.0);
        let late_from = self.late_from();
        let is_late = latency > late_from;
        let is_answer = matches!(outcome, Outcome::Answered { .. });
        let is_success = outcome == Outcome::Answered { is_success: true };
        if outcome != Outcome::Dropped {
            self.success += SUCCESS_WEIGHT * (f64::from(is_success) - self.success);
        }
        match outcome {
            Outcome::TimedOut => self.timeouts = self.timeouts.saturating_add(1),
            _ if is_success => self.timeouts = 0,
            _ => {}
        }
        let is_overtaken = flight.started < self.proven;
        if is_answer && (!is_late || self.baseline.answers() < LATE_FROM) {
            self.proven = self.proven.max(flight.started);
        }
        let mark = match outcome {
            Outcome::TimedOut if !is_overtaken => Some(SEVERE),
            Outcome::Overloaded => Some(SEVERE),
            Outcome::Answered { .. } | Outcome::Dropped if !is_overtaken && is_late => {
                (self.baseline.answers() >= LATE_FROM).then_some(MILD)
            }
            _ => None,
        };
        self.learn(outcome, latency, is_late, now);
        // An answer that was late because it was overtaken says nothing of the load, in either way.
        if outcome == Outcome::Unknown
            || (mark.is_none() && is_overtaken && (!is_answer || is_late))
        {
            return;
        }
        self.advance(now);
        match mark {
            Some(mark) => self.mark(mark, flight, now),
            None if is_answer => self.grow(flight, latency),
            None => {}
        }
        self.limit = self.limit.clamp(self.bounds.min, self.bounds.max);
    }

    /// An attempt is in flight no longer.
    pub(crate) const fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn learn(&mut self, outcome: Outcome, latency: f64, is_late: bool, now: f64) {
        let seen = match outcome {
            Outcome::Answered { .. } => Seen::Answer { is_late },
            Outcome::TimedOut => Seen::Timeout,
            Outcome::Overloaded => Seen::Overload,
            Outcome::Dropped | Outcome::Unknown => return,
        };
        let timeout = self.bounds.attempt_timeout;
        match self.baseline.watch(seen, latency, now, timeout) {
            Change::Escaped => (self.threshold, self.is_following) = (f64::INFINITY, true),
            Change::Reverted => self.is_following = false,
            Change::None => {}
        }
        let is_answer = matches!(seen, Seen::Answer { .. });
        if is_answer {
            if self.baseline.answers() == 0 {
                self.latency = latency;
            }
            (self.baseline).learn(latency, now, self.marked_at, self.held_back_at);
        }
        if seen != Seen::Overload {
            self.latency += LATENCY_WEIGHT * (latency - self.latency);
        }
        self.outcomes.add(now);
        if !is_answer {
            self.bad.add(now);
        }
    }

    /// From which latency on an answer is late, in seconds.
    fn late_from(&self) -> f64 {
        let baseline = self.baseline.value().max(LEAST_LATENCY);
        let late = self.bounds.tolerance * baseline;
        let (share, least) = LATE_BY_TIMEOUT;
        match self.bounds.attempt_timeout {
            Some(timeout) => late.min((share * timeout).max(least * baseline)),
            None => late,
        }
    }

    /// Cuts the limit, unless the attempt had started before the last cut.
    fn mark(&mut self, mark: f64, flight: Flight, now: f64) {
        self.marked_at = now;
        if now - self.held_back_at > RATE.0 {
            let offered = self.offered_rate(now);
            let before = Some(self.borne).filter(|borne| borne.is_finite());
            self.borne = offered.max(before.map_or(0.0, |before| BORNE_KEPT * before));
        } else if self.borne.is_infinite() {
            self.borne = self.rate(now);
        }
        if flight.started < self.cut_at {
            return;
        }
        let is_mild = mark == MILD;
        let (bad, outcomes) = (self.bad.total(now), self.outcomes.total(now));
        let few = bad < SEVERE_SHARE.0 * outcomes;
        let factor = match is_mild || few {
            true => MILD,
            false => SEVERE,
        };
        if factor == SEVERE {
            self.severe_at = now;
        }
        let used = (USED * self.rate(now) * self.baseline.value()).max(LEAST_LATENCY);
        let used = if self.limit >= 1.0 {
            used.max(1.0)
        } else {
            used
        };
        let round_trip = self.latency.max(self.baseline.value());
        let may_pace = self.baseline.answers() >= KNOWN_FROM || self.timeouts >= TIMEOUTS;
        let least = self.least_rate(now);
        let mut floor = match may_pace {
            true => (least * self.baseline.value()).min(1.0),
            false => 1.0,
        };
        if self.baseline.answers() >= KNOWN_FROM {
            floor = floor.max(least * round_trip);
            if is_mild {
                let (mild, _) = LEAST_SHARE;
                floor = floor.max(mild * self.wanted(now) * round_trip);
            }
        }
        // A floor keeps the limit from falling too far. It raises none that is at one or above.
        self.limit = (factor * self.limit.min(used)).max(floor.min(self.limit.max(1.0)));
        // After a step, a few attempts may time out that did not before. The limit is still as low as
        // the step has made it. To grow by one in each round trip would then be too slow.
        if !self.is_following || factor == SEVERE {
            self.is_following = false;
            self.threshold = self.limit;
        }
        self.cut_at = now;
    }

    fn grow(&mut self, flight: Flight, latency: f64) {
        if latency >= GROWS_BELOW * self.baseline.value().max(LEAST_LATENCY) {
            return;
        }
        if self.limit < 1.0 {
            self.limit = (self.limit * RECOVERY.0).min(1.0);
        } else if 2.0 * (flight.beside as f64 + 1.0) >= self.limit {
            if self.is_following && self.limit >= self.borne * self.baseline.value() {
                (self.threshold, self.is_following) = (self.limit, false);
            }
            self.limit += match self.limit < self.threshold {
                true => 1.0,
                false => 1.0 / self.limit,
            };
        }
    }

    /// Lets a limit below one recover, and tokens come, up to `now`.
    fn advance(&mut self, now: f64) {
        let time = now - self.tokens_at;
        if time <= 0.0 {
            return;
        }
        if self.limit < 1.0 {
            let least = self.least_rate(now) * self.round_trip();
            let grown = self.limit * (time / RECOVERY.1).exp2();
            self.limit = (grown.max(least).min(1.0)).clamp(self.bounds.min, self.bounds.max);
        }
        self.tokens = match self.limit() < 1.0 {
            true => (self.tokens + time * self.pace(now)).min(1.0),
            false => 1.0,
        };
        self.tokens_at = now;
    }

    /// How many tokens come in a second.
    fn pace(&mut self, now: f64) -> f64 {
        (self.limit() / self.round_trip()).max(self.least_rate(now))
    }

    fn round_trip(&self) -> f64 {
        self.latency.max(self.baseline.value()).max(LEAST_LATENCY)
    }

    fn least_rate(&mut self, now: f64) -> f64 {
        let (_, severe) = LEAST_SHARE;
        LEAST_RATE.max(severe * self.wanted(now))
    }

    /// The calls a second of which a cut leaves a share: those that are offered, but not more than the
    /// server bore. In a flood of twenty times the usual calls, a tenth of the offered ones can be more
    /// than the server can do.
    fn wanted(&mut self, now: f64) -> f64 {
        self.offered_rate(now).min(self.borne.max(LEAST_BORNE))
    }

    fn offered_rate(&mut self, now: f64) -> f64 {
        self.offered.total(now) / RATE.0
    }

    /// How many attempts are sent in a second: in the last one, if they are enough to tell.
    fn rate(&mut self, now: f64) -> f64 {
        match self.sent.latest(now, RATE.1) {
            enough if enough >= 5.0 => enough,
            _ => self.sent.total(now).max(1.0) / RATE.0,
        }
    }
}

#[cfg(test)]
mod tests;
