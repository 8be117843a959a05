use std::{cell::OnceCell, num::NonZeroU32, time::Duration};

use courteous_backoff::{Backoff, Jitter};
use courteous_classify::wait_after;
use courteous_core::{
    Dice, Effect, Fault, Gate, Outcome, Pressure, ResponseHead, RetryInfo, StopReason, Verdict,
};
use courteous_hints::{Hints, Pushback};
use http::StatusCode;
use tokio::time::Instant;

/// The numbers that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Between attempts, if the server did not say that the client sends too much.
    pub(crate) backoff: Backoff,
    /// Between attempts, if it said that it has too much to do, or may have.
    pub(crate) overload_backoff: Backoff,
    /// Between attempts, if it did.
    pub(crate) throttled_backoff: Backoff,
    /// The longest that the retry waits in one call, in sum.
    pub(crate) max_wait: Duration,
    /// Whether a refused request is sent again though it is neither idempotent nor keyed.
    pub(crate) retry_refused: bool,
    /// The same, if the server refused by 429.
    pub(crate) retry_throttled: bool,
}

/// What a decision needs to know of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestFacts {
    pub(crate) idempotent: bool,
    pub(crate) keyed: bool,
    /// It writes under a precondition that its own effect makes false, and the caller has not said that this does not matter.
    pub(crate) conditional: bool,
    /// What the caller has said of sending it twice, where that is what decides.
    pub(crate) said: Option<bool>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) request: RequestFacts,
    pub(crate) replayable: bool,
    pub(crate) outcome: Outcome<'a>,
    pub(crate) verdict: Verdict,
    pub(crate) progress: Progress,
    pub(crate) now: Instant,
    pub(crate) deadline: Option<Instant>,
}

/// What one call has behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The attempts that were made.
    pub(crate) attempts: u32,
    /// The attempts that are allowed.
    pub(crate) max_attempts: Allowance,
    /// How far the backoff has grown: the attempts since it last started over.
    pub(crate) growth: u32,
    /// The last backoff.
    pub(crate) last_backoff: Duration,
    /// The waits of this call, in sum.
    pub(crate) waited: Duration,
}

/// How many attempts a call may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// One, by the caller's own word.
    Disabled,
    Allowed(NonZeroU32),
}

impl Allowance {
    pub(crate) const fn get(self) -> u32 {
        match self {
            Self::Disabled => 1,
            Self::Allowed(attempts) => attempts.get(),
        }
    }
}

impl Progress {
    /// The first of `max_attempts` is on its way.
    pub(crate) const fn new(max_attempts: Allowance) -> Self {
        Self {
            attempts: 1,
            max_attempts,
            growth: 0,
            last_backoff: Duration::ZERO,
            waited: Duration::ZERO,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// To try again, if the budget allows.
    Retry(Plan),
    Stop(Stop),
}

/// A further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) fault: Fault,
    /// When the gate opens that is waited for, if there is one: this may cost less.
    pub(crate) gate: Option<Instant>,
    pub(crate) wait: Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) until: Instant,
    /// Whether the instant is the server's word, and not our own backoff.
    pub(crate) hinted: bool,
    /// How far the backoff has grown with it.
    pub(crate) growth: u32,
    /// The backoff in it.
    pub(crate) backoff: Duration,
}

/// The end of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) reason: StopReason,
    pub(crate) not_before: Option<Instant>,
}

impl Stop {
    /// As a retry further in has ended.
    pub(crate) const fn of(inner: &RetryInfo) -> Self {
        Self {
            reason: inner.stop_reason(),
            not_before: inner.not_before(),
        }
    }
}

impl RequestFacts {
    /// Whether a request may be sent again after an attempt that had `effect`, and was answered by `status`.
    fn check(
        self,
        effect: Effect,
        status: Option<StatusCode>,
        policy: &Policy,
    ) -> Result<(), StopReason> {
        let repeatable = self.idempotent || self.keyed;
        let allowed = match (effect, status) {
            (Effect::NeverSent, _) => true,
            (Effect::Refused, Some(StatusCode::TOO_MANY_REQUESTS)) if policy.retry_throttled => {
                true
            }
            // The server asks for it to be sent again (RFC 8470, section 5.2).
            (Effect::Refused, Some(StatusCode::TOO_EARLY)) => true,
            (Effect::Refused, _) => repeatable || policy.retry_refused,
            (Effect::InProgress, _) => self.keyed,
            // What is not known here yet may have been processed.
            _ if self.conditional && self.idempotent && !self.keyed => {
                return Err(StopReason::Precondition);
            }
            _ => repeatable,
        };
        allowed.then_some(()).ok_or(StopReason::NotIdempotent)
    }
}

impl Policy {
    /// Whether there is to be another attempt, and when: everything but the budget.
    pub(crate) fn decide(&self, situation: &Situation<'_>, dice: &Dice) -> Decision {
        let told = Told::by(situation.outcome);
        let stop = |reason| {
            Decision::Stop(Stop {
                reason,
                not_before: match told.gate() {
                    Some(gate) => Some(gate.opens_at()),
                    None => told.wait().and_then(|wait| situation.now.checked_add(wait)),
                },
            })
        };
        let (effect, fault) = match situation.verdict {
            Verdict::Transient { effect, fault } => (effect, fault),
            Verdict::Answered => return stop(StopReason::Answered),
            _ => return stop(StopReason::Permanent),
        };
        let pushback = match told.another_attempt() {
            Ok(pushback) => pushback,
            Err(Vetoed) => return stop(StopReason::Vetoed),
        };
        match situation.progress.max_attempts {
            Allowance::Disabled => return stop(StopReason::Disabled),
            Allowance::Allowed(n) if situation.progress.attempts >= n.get() => {
                return stop(StopReason::AttemptsExhausted);
            }
            Allowance::Allowed(_) => {}
        }
        let status = situation.outcome.status();
        if let Err(reason) = situation.request.check(effect, status, self) {
            return stop(reason);
        }
        if !situation.replayable {
            return stop(StopReason::BodyNotReplayable);
        }
        let Some(wait) = self.wait(situation, &told, pushback, fault, dice) else {
            return stop(StopReason::WaitTooLong);
        };
        match self.check(&situation.progress, situation.deadline, situation.now, wait) {
            Ok(()) => Decision::Retry(Plan {
                fault,
                gate: told.gate().map(|gate| gate.opens_at()),
                wait,
            }),
            Err(stop) => Decision::Stop(stop),
        }
    }

    /// Whether a wait is within the sum that is allowed and the deadline.
    pub(crate) fn check(
        &self,
        progress: &Progress,
        deadline: Option<Instant>,
        now: Instant,
        wait: Wait,
    ) -> Result<(), Stop> {
        let length = wait.until.saturating_duration_since(now);
        let reason = if progress.waited.saturating_add(length) > self.max_wait {
            StopReason::WaitTooLong
        } else if deadline.is_some_and(|deadline| wait.until >= deadline) {
            StopReason::Deadline
        } else {
            return Ok(());
        };
        Err(Stop {
            reason,
            not_before: wait.hinted.then_some(wait.until),
        })
    }

    /// When the next attempt is to be made; `None` for never.
    fn wait(
        &self,
        situation: &Situation<'_>,
        told: &Told<'_>,
        pushback: Option<Duration>,
        fault: Fault,
        dice: &Dice,
    ) -> Option<Wait> {
        let Progress {
            growth,
            last_backoff,
            ..
        } = situation.progress;
        if let Some(gate) = told.gate() {
            // The throttle that closed the gate has read the hint and drawn the jitter.
            let until = gate.opens_at().max(situation.now);
            return Some(Wait {
                until,
                hinted: true,
                growth,
                backoff: last_backoff,
            });
        }
        if let Some(pushback) = pushback {
            // gRFC A6: exactly as long as it says, and the backoff starts over.
            let until = situation.now.checked_add(pushback)?;
            return Some(Wait {
                until,
                hinted: true,
                growth: 0,
                backoff: Duration::ZERO,
            });
        }
        let hint = told.wait();
        let policy = match fault {
            Fault::Throttled => &self.throttled_backoff,
            // With a hint, the server has said how long it takes.
            Fault::Overload if hint.is_none() => &self.overload_backoff,
            Fault::NoResponse if Pressure::of(situation.outcome) != Pressure::Calm => {
                &self.overload_backoff
            }
            _ => &self.backoff,
        };
        let growth = growth.saturating_add(1);
        let backoff = policy.delay(growth, last_backoff, dice.roll());
        let length = match hint {
            // A floor: what is drawn comes on top. Without jitter nothing is drawn.
            Some(hint) if policy.jitter() == Jitter::None => hint.max(backoff),
            Some(hint) => hint.saturating_add(backoff),
            None => backoff,
        };
        let until = situation.now.checked_add(length)?;
        Some(Wait {
            until,
            hinted: hint.is_some(),
            growth,
            backoff,
        })
    }
}

/// What the server has said about another attempt. Each field is read when a decision depends on it,
/// and once: after a [`Gate`], which has taken the wait into account, the wait is not read at all.
struct Told<'a> {
    /// `None` if there is no response.
    head: Option<ResponseHead<'a>>,
    wait: OnceCell<Option<Duration>>,
}

/// The server wants no further attempt.
struct Vetoed;

impl<'a> Told<'a> {
    fn by(outcome: Outcome<'a>) -> Self {
        Self {
            head: outcome.result().ok(),
            wait: OnceCell::new(),
        }
    }

    /// The gate that a throttle closed because of the response.
    fn gate(&self) -> Option<Gate> {
        self.head?.extensions().get().copied()
    }

    /// After another failure, the reset of a limit whose rest is unknown is no order to wait.
    fn wait(&self) -> Option<Duration> {
        *self.wait.get_or_init(|| wait_after(&self.head?))
    }

    /// The pushback of a gRPC server, if it allows another attempt.
    fn another_attempt(&self) -> Result<Option<Duration>, Vetoed> {
        let Some(head) = self.head else {
            return Ok(None);
        };
        let hints = Hints::of(head.headers());
        let pushback = match hints.grpc_pushback() {
            Some(Pushback::After(wait)) => Some(wait),
            Some(_) => return Err(Vetoed),
            None => None,
        };
        match hints.should_retry() == Some(false) || hints.is_replayed() {
            true => Err(Vetoed),
            false => Ok(pushback),
        }
    }
}

#[cfg(test)]
mod tests;
