//! Decides whether another attempt is allowed, and pays for it.
//!
//! A failed attempt asks, in this order: the policy (verdict, attempts, method or key, body, waits
//! in sum, deadline), the budget, and the body. The first "no" ends the call with its reason. Only
//! after the last "yes" are hooks and events told.
//!
//! A *rejected* attempt is one that a limit of this client rejected, so nothing was sent. It is not
//! counted, and its payment is kept for the attempt that replaces it. With three attempts allowed
//! and a throttle that rejects the second one until 5 s, the call waits until 5 s, holds nothing of
//! the layers inside meanwhile, and then makes its second attempt of three.

use std::time::Duration;

use courteous_body::Keep;
use courteous_budget::Receipt;
use courteous_core::{NoteKind, Outcome, Rejected, StopReason, Verdict};
use tokio::time::Instant;

use super::{Call, Next, judge::UNKNOWN};
use crate::{
    RetryEvent, events,
    policy::{Decision, Plan, Situation, Stop, Wait},
    settings::Settings,
    snapshot::Snapshot,
};

/// A closed limit is asked again after this time at the earliest, whatever instant it names.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// The next attempt after one that has failed at `now`, or why the call ends.
    pub(super) fn plan(
        &mut self,
        now: Instant,
        outcome: Outcome<'_>,
        verdict: Verdict,
    ) -> Result<Next<B>, Stop> {
        let progress = self.so_far().progress;
        let kept = self.snapshot.as_ref().map(Snapshot::body);
        let situation = Situation {
            request: self.facts,
            replayable: self.is_replayable(),
            outcome,
            verdict,
            progress,
            now,
            deadline: self.deadline(),
        };
        let Settings { policy, dice, .. } = &*self.settings;
        let decision = policy.decide(&situation, dice);
        let Plan { fault, gate, wait } = match decision {
            Decision::Retry(plan) => plan,
            Decision::Stop(stop) => return Err(stop),
        };
        let stop = |reason| Stop {
            reason,
            not_before: wait.hinted.then_some(wait.until),
        };
        let is_silence = verdict == UNKNOWN;
        let silence = self.pressure(outcome).filter(|_| is_silence);
        let budget = &self.settings.budget;
        let payment = budget.withdraw_under(now, fault, gate, silence);
        let payment = payment.ok_or(stop(StopReason::BudgetExhausted))?;
        // Reading the body again ends what the failed attempt may still be sending of it.
        let body = kept.and_then(|kept| self.keep.again(kept).ok());
        let body = body.ok_or(stop(StopReason::BodyNotReplayable))?;
        let event = RetryEvent {
            attempt: progress.attempts,
            wait: wait.until.saturating_duration_since(now),
            request: &self.line,
            outcome: outcome.with_request(&self.line),
            verdict,
        };
        if let Some(on_retry) = &self.settings.on_retry {
            on_retry(&event);
        }
        events::retry(&event);
        if let Some(record) = self.record() {
            record.note(NoteKind::retry(event.wait(), fault));
        }
        Ok(self.schedule(now, wait, body, Some(payment)))
    }

    /// The next attempt after one that a limit further in has rejected, which does not count as an
    /// attempt. If the limit says when it opens, this call waits until then, and holds nothing of
    /// the layers inside.
    pub(super) fn rejected(&mut self, now: Instant, rejected: &Rejected) -> Result<Next<B>, Stop> {
        let stop = |reason| Stop {
            reason,
            not_before: rejected.not_before(),
        };
        let cause = stop(StopReason::Rejected);
        let so_far = self.so_far();
        so_far.progress.attempts = so_far.progress.attempts.saturating_sub(1);
        let progress = so_far.progress;
        let payment = so_far.receipt.take().map(Receipt::unsent);
        if let Some(record) = self.record() {
            record.reject_attempt();
        }
        let gate = rejected.gate().ok_or(cause)?;
        let kept = self.snapshot.as_ref().ok_or(cause)?.body();
        let wait = Wait {
            until: gate.opens_at().max(now + SHORTEST_WAIT),
            hinted: true,
            growth: progress.growth,
            backoff: progress.last_backoff,
        };
        self.settings
            .policy
            .check(&progress, self.deadline(), now, wait)?;
        let body = self.keep.again(kept).ok();
        let body = body.ok_or(stop(StopReason::BodyNotReplayable))?;
        if let Some(record) = self.record() {
            let wait = wait.until.saturating_duration_since(now);
            record.note(NoteKind::postponed(wait));
        }
        Ok(self.schedule(now, wait, body, payment))
    }

    /// Whether the body of the request can be sent again.
    pub(super) fn is_replayable(&self) -> bool {
        let kept = self.snapshot.as_ref().map(Snapshot::body);
        kept.is_some_and(|kept| self.keep.check(kept).is_ok())
    }
}
