//! Reads the outcome of an attempt, and chooses what follows: its return to the caller, or another
//! attempt.
//!
//! ```text
//! response -+- an inner retry gave up ---> return it
//!           +- answered -----------------> return it; a success pays into the budget
//!           +- failed -> plan -+- go on -> let the response go, drain, wait
//!                              +- stop --> return the response as it is
//! error ----+- an inner retry gave up, a total timeout, a key reused -> return it
//!           +- rejected by a limit -> plan::rejected
//!           +- failed --------------> plan
//! ```
//!
//! The decision is made while the response is still here: the last response or error of a call is
//! returned, never a made-up one.

use std::pin::Pin;

use courteous_body::{Keep, NotReplayable};
use courteous_classify::is_grpc;
use courteous_core::{
    BoxError, Effect, Elapsed, Fault, History, Outcome, Pressure, RefusalCell, RejectReason,
    Rejected, Retried, RetryInfo, Scope, StopReason, Verdict, find_cause,
};
use http::{Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::{Call, Later, Step, finish::leaves_the_key};
use crate::{policy::Stop, snapshot::Snapshot};

/// The verdict on an error that does not say what went wrong.
pub(super) const UNKNOWN: Verdict = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// Decides what follows from the `result` of an attempt.
    pub(crate) fn judge<RB: Body>(&mut self, result: Result<Response<RB>, BoxError>) -> Step<RB> {
        let step = match result {
            Ok(response) => self.responded(response),
            Err(error) => self.failed(error),
        };
        if let Step::Return(result) = &step {
            // No further attempt: the rest of a body that is still being sent need not be kept.
            self.snapshot = None;
            if let Some(key) = self.key.take()
                && leaves_the_key(result)
            {
                key.release();
            }
        }
        step
    }

    fn responded<RB: Body>(&mut self, mut response: Response<RB>) -> Step<RB> {
        if let Some(inner) = response.extensions_mut().remove::<RetryInfo>() {
            let ends = ends_the_call(&inner);
            if ends || inner.stop_reason() == StopReason::Answered {
                self.add(&inner);
            }
            if ends {
                response
                    .extensions_mut()
                    .insert(self.info(Stop::of(&inner)));
                return Step::Return(Ok(response));
            }
        }
        let refusal = RefusalCell::new();
        let verdict = match self.classify(Outcome::response(&response).with_refusal(&refusal)) {
            // A request that was sent again was not early data: a second 425 is an answer.
            Verdict::Transient { .. } if self.was_too_early(response.status()) => Verdict::Answered,
            Verdict::Answered if self.is_in_progress(response.status()) => {
                Verdict::transient(Effect::InProgress, Fault::Server)
            }
            verdict => verdict,
        };
        if verdict == Verdict::Answered {
            if is_success(&response) {
                let pressure = self.pressure(Outcome::head(&response));
                self.settings.budget.deposit_under(pressure);
            }
            if self.later.is_some() {
                let stop = Stop {
                    reason: StopReason::Answered,
                    not_before: None,
                };
                response.extensions_mut().insert(self.info(stop));
            }
            return Step::Return(Ok(response));
        }
        let now = Instant::now();
        self.remember(now, verdict, Some(response.status()));
        // Decided while the response is still here, to be returned if this was the last attempt.
        let outcome = Outcome::response(&response).with_refusal(&refusal);
        match self.plan(now, outcome, verdict) {
            Ok(next) => {
                let (parts, body) = response.into_parts();
                let so_far = self.so_far();
                so_far.next = Some(next);
                so_far.last = Some((parts.status, parts.headers));
                match body.is_end_stream() {
                    true => Step::Wait,
                    false => Step::Drain(body, self.drain_until(now)),
                }
            }
            Err(stop) => {
                response.extensions_mut().insert(self.info(stop));
                Step::Return(Ok(response))
            }
        }
    }

    fn failed<RB>(&mut self, error: BoxError) -> Step<RB> {
        let now = Instant::now();
        let inner = find_cause::<Retried>(&*error);
        let planned = if let Some(inner) = inner.filter(|inner| ends_the_call(inner.info())) {
            self.add(inner.info());
            let last = inner.last_status().zip(inner.last_headers().cloned());
            let so_far = self.so_far();
            so_far.last = last.or(so_far.last.take());
            Err(Stop::of(inner.info()))
        } else if let Some(rejected) = find_cause::<Rejected>(&*error) {
            match rejected.reason() {
                // Another request of this attempt was sent under the key, and may have been
                // processed.
                RejectReason::KeyReused => {
                    self.remember(now, UNKNOWN, None);
                    Err(Stop {
                        reason: StopReason::Rejected,
                        not_before: None,
                    })
                }
                _ => self.rejected(now, rejected),
            }
        } else if find_cause::<Elapsed>(&*error)
            .is_some_and(|elapsed| elapsed.scope() == Scope::Total)
        {
            let verdict = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);
            self.remember(now, verdict, None);
            Err(Stop {
                reason: StopReason::Deadline,
                not_before: None,
            })
        } else {
            let outcome = Outcome::error(&*error);
            let verdict = match self.classify(outcome) {
                // The client could not send what the caller did not give it.
                UNKNOWN if self.has_source_failed() => Verdict::Permanent,
                verdict => verdict,
            };
            self.remember(now, verdict, None);
            self.plan(now, outcome, verdict)
        };
        match planned {
            Ok(next) => {
                self.so_far().next = Some(next);
                Step::Wait
            }
            Err(stop) => Step::Return(Err(self.end(stop, error))),
        }
    }

    /// What an adaptive limit further in says of the attempt that ended with `outcome`, if there is
    /// such a limit.
    pub(super) fn pressure(&self, outcome: Outcome<'_>) -> Option<Pressure> {
        let is_there = self.settings.is_limit_adaptive;
        is_there.then(|| Pressure::of(outcome))
    }

    /// Asks the layer's classifier about `outcome`.
    pub(super) fn classify(&self, outcome: Outcome<'_>) -> Verdict {
        let outcome = outcome.with_request(&self.line);
        self.settings.classifier.classify(outcome)
    }

    /// Whether the source of the request's body has failed. Clients report that as an error of the
    /// user's, and other failures, too.
    pub(super) fn has_source_failed(&self) -> bool {
        let kept = self.snapshot.as_ref().map(Snapshot::body);
        kept.is_some_and(|kept| self.keep.check(kept) == Err(NotReplayable::SourceFailed))
    }

    /// Whether `status` is 425, and an earlier attempt was answered by 425, too.
    fn was_too_early(&self, status: StatusCode) -> bool {
        let said = |later: &Pin<Box<Later<B>>>| {
            let mut attempts = later.so_far.history.attempts().iter();
            attempts.any(|attempt| attempt.status() == Some(status))
        };
        status == StatusCode::TOO_EARLY && self.later.as_ref().is_some_and(said)
    }

    /// Whether `status` says that an earlier attempt is still being processed under the request's
    /// key: the meaning of 409 in draft-ietf-httpapi-idempotency-key-header-07, section 2.6. If no
    /// earlier attempt may have been processed, a 409 is an answer.
    fn is_in_progress(&self, status: StatusCode) -> bool {
        let history = self.later.as_ref().map(|later| &later.so_far.history);
        status == StatusCode::CONFLICT
            && self.facts.keyed
            && history.is_some_and(History::is_maybe_processed)
    }
}

/// Whether the call ends because a retry further in has given up: each attempt of this retry would
/// be several attempts of the inner one. An inner retry that is off, or that has sent nothing,
/// multiplies nothing.
pub(super) fn ends_the_call(inner: &RetryInfo) -> bool {
    match inner.stop_reason() {
        StopReason::Answered | StopReason::Disabled => false,
        StopReason::AttemptsExhausted => inner.attempts() > 1,
        StopReason::Rejected => inner.attempts() > 0 || inner.history().is_maybe_sent(),
        _ => true,
    }
}

/// Whether an answer pays into the budget: the server did what it was asked. A refusal does not, as
/// a client that is always refused would pay for its retries with refusals.
pub(super) fn is_success<RB: Body>(response: &Response<RB>) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let failed = || {
        let status = headers.get("grpc-status");
        status.is_some_and(|status| status != "0")
    };
    let is_grpc_failure = || response.body().is_end_stream() && is_grpc(headers) && failed();
    !status.is_client_error() && !status.is_server_error() && !is_grpc_failure()
}
