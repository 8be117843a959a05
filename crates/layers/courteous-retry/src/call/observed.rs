//! A call of a layer that only observes: its one attempt is judged, and its outcome is returned as
//! it is.
//!
//! A GET that is answered by 503 is counted as one retry with its backoff, say 100 ms, and paid
//! from a budget of its own. The caller gets the 503 at once.

use std::mem;

use courteous_body::Keep;
use courteous_budget::Payment;
use courteous_core::{
    BoxError, CallContext, CallRecord, Decision as Observed, Elapsed, Fault, ObserveOnly, Outcome,
    RefusalCell, Rejected, Retried, RetryInfo, Scope, Upload, Verdict, find_cause,
};
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;

use super::{
    Call, Told,
    judge::{UNKNOWN, ends_the_call, is_success},
    plan::SHORTEST_WAIT,
};
use crate::{
    events,
    policy::{Decision, Plan, Progress, Situation, Wait},
    snapshot::Snapshot,
};

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// Reads what a decision needs to know about `request`, and changes nothing that is sent. A
    /// streaming body is kept as usual, as that decides whether it could be sent again.
    #[cold]
    pub(crate) fn begin_observed(&mut self, request: &mut Request<B>, switch: ObserveOnly) {
        let extensions = request.extensions();
        self.context = CallContext::of(extensions);
        self.facts = self.settings.facts(request, extensions);
        self.max_attempts = self.settings.max_attempts(extensions);
        // Nothing else is written: a retry further in may really make attempts.
        if let (Some(record), Some(said)) = (CallRecord::of(extensions), self.facts.said) {
            record.say_idempotent(said);
        }
        if self.max_attempts.get() > 1 {
            let body_limit = self.settings.body_limit(request, self.facts);
            let kept = self.keep.keep_in_place(request.body_mut(), body_limit);
            self.snapshot = Some(Snapshot::of(request, false, kept));
            // So that a timeout further in sees the upload as it would with a retry.
            self.watch(request);
        } else if request.extensions().get::<Upload>().is_none()
            && let Some(upload) = self.keep.watch_in_place(request.body_mut())
        {
            request.extensions_mut().insert(upload);
        }
        self.told = Told::Observer(switch);
    }

    /// Counts and reports what would follow from `result`. Returns `false`, and does nothing, if
    /// the call is not observed.
    #[inline]
    pub(crate) fn observe<RB: Body>(&mut self, result: &Result<Response<RB>, BoxError>) -> bool {
        if !matches!(self.told, Told::Observer(_)) {
            return false;
        }
        if let Told::Observer(switch) = mem::replace(&mut self.told, Told::Nobody) {
            self.observe_with(&switch, result);
        }
        true
    }

    #[cold]
    fn observe_with<RB: Body>(
        &mut self,
        switch: &ObserveOnly,
        result: &Result<Response<RB>, BoxError>,
    ) {
        let planned = match result {
            Ok(response) => self.observe_response(response),
            Err(error) => self.observe_error(error),
        };
        self.snapshot = None;
        if let Some(Observation {
            wait,
            fault,
            is_paid,
        }) = planned
        {
            let wait = wait.until.saturating_duration_since(Instant::now());
            match is_paid {
                true => switch.record_wait(Observed::Retry, wait),
                false => switch.record(Observed::BudgetReject),
            }
            let status = result.as_ref().ok().map(Response::status);
            events::observed(wait, is_paid, fault, status, &self.line);
        }
    }

    fn observe_response<RB: Body>(&self, response: &Response<RB>) -> Option<Observation> {
        let inner = response.extensions().get::<RetryInfo>();
        if inner.is_some_and(ends_the_call) {
            return None;
        }
        let refusal = RefusalCell::new();
        let outcome = Outcome::response(response).with_refusal(&refusal);
        let verdict = self.classify(outcome);
        if verdict == Verdict::Answered && is_success(response) {
            self.settings.budget.observed().deposit();
        }
        self.observe_outcome(outcome, verdict)
    }

    fn observe_error(&self, error: &BoxError) -> Option<Observation> {
        let inner = find_cause::<Retried>(&**error);
        let elapsed = find_cause::<Elapsed>(&**error);
        if inner.is_some_and(|inner| ends_the_call(inner.info()))
            || elapsed.is_some_and(|elapsed| elapsed.scope() == Scope::Total)
        {
            return None;
        }
        let outcome = Outcome::error(&**error);
        if let Some(rejected) = find_cause::<Rejected>(&**error) {
            return self.observe_rejected(rejected);
        }
        let verdict = match self.classify(outcome) {
            UNKNOWN if self.has_source_failed() => Verdict::Permanent,
            verdict => verdict,
        };
        self.observe_outcome(outcome, verdict)
    }

    /// A limit further in is closed: the call would have waited until it opens, and then made its
    /// first attempt.
    fn observe_rejected(&self, rejected: &Rejected) -> Option<Observation> {
        let now = Instant::now();
        let wait = Wait {
            until: rejected.gate()?.opens_at().max(now + SHORTEST_WAIT),
            hinted: true,
            growth: 0,
            backoff: Default::default(),
        };
        let progress = Progress::new(self.max_attempts);
        let policy = &self.settings.policy;
        let checked = policy.check(&progress, self.deadline(), now, wait);
        checked.ok().filter(|()| self.is_replayable())?;
        Some(Observation {
            wait,
            fault: None,
            is_paid: true,
        })
    }

    fn observe_outcome(&self, outcome: Outcome<'_>, verdict: Verdict) -> Option<Observation> {
        let now = Instant::now();
        let situation = Situation {
            request: self.facts,
            replayable: self.is_replayable(),
            outcome,
            verdict,
            progress: Progress::new(self.max_attempts),
            now,
            deadline: self.deadline(),
        };
        match self.settings.policy.decide(&situation, &self.settings.dice) {
            Decision::Retry(Plan { fault, gate, wait }) => {
                let budget = self.settings.budget.observed();
                // Spent, as the retry would have been sent.
                let receipt = budget.withdraw(now, fault, gate).map(Payment::sent);
                Some(Observation {
                    wait,
                    fault: Some(fault),
                    is_paid: receipt.is_some(),
                })
            }
            Decision::Stop(_) => None,
        }
    }
}

/// Another attempt that would have been made.
struct Observation {
    wait: Wait,
    /// What kind of failure it would have followed; none if an inner limit rejected the attempt.
    fault: Option<Fault>,
    /// Whether the budget would have allowed it.
    is_paid: bool,
}
