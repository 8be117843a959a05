use std::{mem, num::NonZeroU32, sync::Arc, time::Duration};

use courteous_core::{
    Attempt, BoxError, CallContext, Effect, Elapsed, Fault, History, Outcome, Rejected, Retried,
    RetryInfo, Scope, StopReason, Trail, Verdict, find_cause,
};
use courteous_replay::Keep;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE,
    request,
};
use http_body::Body;
use tokio::time::Instant;

use crate::{
    RetryEvent,
    budget::{Payment, Receipt},
    policy::{Decision, Plan, Progress, RequestFacts, Situation, Stop, Wait},
    settings::Settings,
};

/// Counts the attempts before this one, for servers (gRFC A6).
const GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// A limit that is closed is asked again after this time at the earliest, whatever it says.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// One call: all that is known between its attempts.
pub(crate) struct Call<S, K: Keep<B>, B> {
    pub(crate) service: S,
    settings: Arc<Settings>,
    keep: K,
    /// The request as it came, to make each further attempt of. `None` if there can be only one.
    snapshot: Option<Snapshot<K::Kept>>,
    facts: RequestFacts,
    context: CallContext,
    progress: Progress,
    history: History,
    /// Where a layer outside reads how the call goes.
    trail: Option<Trail>,
    /// What the response that was let go last said.
    last: Option<Box<(StatusCode, HeaderMap)>>,
    /// What the attempt that is under way has paid.
    receipt: Option<Receipt>,
    next: Option<Next<B>>,
}

struct Snapshot<T> {
    parts: request::Parts,
    body: T,
}

/// The attempt that is waited for.
struct Next<B> {
    body: B,
    until: Instant,
    /// What it has paid. Nothing if it stands in for the first attempt, which a limit has refused.
    payment: Option<Payment>,
}

/// What follows an attempt.
pub(crate) enum Step<RB> {
    Return(Result<Response<RB>, BoxError>),
    /// To wait for the next attempt; before that, to read what is left of the body of a response.
    Wait(Option<RB>),
}

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// The call, and the request of its first attempt.
    pub(crate) fn new(
        service: S,
        settings: Arc<Settings>,
        keep: K,
        request: Request<B>,
    ) -> (Self, Request<B>) {
        let facts = settings.facts(&request);
        let max_attempts = settings.max_attempts(&request);
        let body_limit = settings.body_limit(&request, facts);
        let (mut parts, mut body) = request.into_parts();
        let mut context = CallContext::of(&parts.extensions);
        let trail = parts.extensions.remove::<Trail>();
        if let Some(trail) = &trail {
            trail.begin(1);
        }
        let mut snapshot = None;
        if max_attempts.get() > 1 {
            let unmarked = copy(&parts);
            let kept;
            (body, kept) = keep.keep(body, body_limit);
            snapshot = Some(Snapshot {
                parts: unmarked,
                body: kept,
            });
            context.ensure_call_id();
            context.set_attempt(NonZeroU32::MIN);
            *CallContext::edit(&mut parts.extensions) = context;
        }
        number(&mut parts, 1, &settings);
        let call = Self {
            service,
            settings,
            keep,
            snapshot,
            facts,
            context,
            progress: Progress::new(max_attempts),
            history: History::new(),
            trail,
            last: None,
            receipt: None,
            next: None,
        };
        (call, Request::from_parts(parts, body))
    }

    /// The deadline of the call.
    const fn deadline(&self) -> Option<Instant> {
        self.context.deadline()
    }

    /// How long a discarded body may be read: until `limit`, unless that is so close to the deadline that it would take the
    /// next attempt's time. Then no longer than the wait.
    pub(crate) fn drain_until(&self, limit: Instant) -> Instant {
        match (self.deadline(), self.next_at()) {
            (Some(deadline), Some(next)) if limit >= deadline => limit.min(next),
            _ => limit,
        }
    }

    /// When the next attempt is to be made, if there is to be one.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next.as_ref().map(|next| next.until)
    }

    /// The request of the next attempt, which is on its way from here on.
    pub(crate) fn start(&mut self) -> Option<Request<B>> {
        let next = self.next.take()?;
        let mut parts = self.snapshot.as_ref()?.parts.clone();
        self.receipt = next.payment.map(Payment::sent);
        self.progress.attempts = self.progress.attempts.saturating_add(1);
        if let Some(attempt) = NonZeroU32::new(self.progress.attempts) {
            self.context.set_attempt(attempt);
        }
        if let Some(trail) = &self.trail {
            trail.begin(self.progress.attempts);
        }
        *CallContext::edit(&mut parts.extensions) = self.context;
        number(&mut parts, self.progress.attempts, &self.settings);
        Some(Request::from_parts(parts, next.body))
    }

    /// The end of a call whose service is not ready for another attempt.
    pub(crate) fn not_ready(&mut self, error: BoxError) -> BoxError {
        self.next = None;
        self.end(
            Stop {
                reason: StopReason::Permanent,
                not_before: None,
            },
            error,
        )
    }

    /// What follows from what came of an attempt.
    pub(crate) fn judge<RB: Body>(&mut self, result: Result<Response<RB>, BoxError>) -> Step<RB> {
        let step = match result {
            Ok(response) => self.responded(response),
            Err(error) => self.failed(error),
        };
        if let Step::Return(_) = step {
            // A body that is still being sent need not be kept any longer.
            self.snapshot = None;
        }
        step
    }

    fn responded<RB: Body>(&mut self, mut response: Response<RB>) -> Step<RB> {
        self.receipt = None;
        let verdict = self
            .settings
            .classifier
            .classify(Outcome::response(&response));
        if verdict == Verdict::Answered {
            self.settings.budget.deposit();
            if self.progress.attempts > 1 || !self.progress.waited.is_zero() {
                let stop = Stop {
                    reason: StopReason::Answered,
                    not_before: None,
                };
                response.extensions_mut().insert(self.info(stop));
            }
            return Step::Return(Ok(response));
        }
        self.remember(verdict, Some(response.status()));
        // Decided while the response is still here, to be returned if this was the last attempt.
        match self.plan(Outcome::response(&response), verdict) {
            Ok(next) => {
                self.next = Some(next);
                let (parts, body) = response.into_parts();
                self.last = Some(Box::new((parts.status, parts.headers)));
                Step::Wait(Some(body))
            }
            Err(stop) => {
                response.extensions_mut().insert(self.info(stop));
                Step::Return(Ok(response))
            }
        }
    }

    fn failed<RB>(&mut self, error: BoxError) -> Step<RB> {
        let planned = if let Some(rejected) = find_cause::<Rejected>(&*error) {
            // A retry further in may have sent something before it was refused, unless it is off.
            let unsent = find_cause::<Retried>(&*error).is_none_or(|inner| {
                let info = inner.info();
                info.attempts() == 0 && info.stop_reason() == StopReason::Rejected
            });
            self.refused(rejected, unsent)
        } else if find_cause::<Elapsed>(&*error)
            .is_some_and(|elapsed| elapsed.scope() == Scope::Total)
        {
            self.remember(
                Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse),
                None,
            );
            Err(Stop {
                reason: StopReason::Deadline,
                not_before: None,
            })
        } else {
            let outcome = Outcome::error(&*error);
            let verdict = self.settings.classifier.classify(outcome);
            self.receipt = None;
            self.remember(verdict, None);
            self.plan(outcome, verdict)
        };
        match planned {
            Ok(next) => {
                self.next = Some(next);
                Step::Wait(None)
            }
            Err(stop) => Step::Return(Err(self.end(stop, error))),
        }
    }

    /// The next attempt after one that has failed, or why there is none.
    fn plan(&mut self, outcome: Outcome<'_>, verdict: Verdict) -> Result<Next<B>, Stop> {
        let now = Instant::now();
        let kept = self.snapshot.as_ref().map(|snapshot| &snapshot.body);
        let situation = Situation {
            request: self.facts,
            replayable: kept.is_some_and(|kept| self.keep.check(kept).is_ok()),
            outcome,
            verdict,
            progress: self.progress,
            now,
            deadline: self.deadline(),
        };
        let Settings { policy, dice, .. } = &*self.settings;
        let decision = dice.roll(|rng| policy.decide(&situation, rng));
        let Plan { fault, gated, wait } = match decision {
            Decision::Retry(plan) => plan,
            Decision::Stop(stop) => return Err(stop),
        };
        let stop = |reason| Stop {
            reason,
            not_before: wait.hinted.then_some(wait.until),
        };
        let payment = self.settings.budget.withdraw(now, fault, gated);
        let payment = payment.ok_or(stop(StopReason::BudgetExhausted))?;
        // Overtakes the body of the attempt that has failed: what is still being sent of it ends here.
        let body = kept.and_then(|kept| self.keep.again(kept).ok());
        let body = body.ok_or(stop(StopReason::BodyNotReplayable))?;
        let event = RetryEvent {
            attempt: self.progress.attempts,
            wait: wait.until.saturating_duration_since(now),
            outcome,
            verdict,
        };
        if let Some(on_retry) = &self.settings.on_retry {
            on_retry(&event);
        }
        #[cfg(feature = "tracing")]
        tracing::debug!(attempt = event.attempt, wait = ?event.wait, verdict = ?verdict, "retry");
        Ok(self.schedule(now, wait, body, Some(payment)))
    }

    /// A limit further in has refused the attempt: it was none. If the limit is closed, it is this call that waits, with
    /// nothing held.
    fn refused(&mut self, rejected: &Rejected, unsent: bool) -> Result<Next<B>, Stop> {
        let stop = |reason| Stop {
            reason,
            not_before: rejected.not_before(),
        };
        let refused = stop(StopReason::Rejected);
        if !unsent {
            return Err(refused);
        }
        self.progress.attempts = self.progress.attempts.saturating_sub(1);
        if let Some(trail) = &self.trail {
            trail.refuse();
        }
        let payment = self.receipt.take().map(Receipt::unsent);
        let gate = rejected.gate().ok_or(refused)?;
        let kept = &self.snapshot.as_ref().ok_or(refused)?.body;
        let now = Instant::now();
        let wait = Wait {
            until: gate.opens_at().max(now + SHORTEST_WAIT),
            hinted: true,
            growth: self.progress.growth,
            backoff: self.progress.last_backoff,
        };
        self.settings
            .policy
            .check(&self.progress, self.deadline(), now, wait)?;
        let body = self.keep.again(kept).ok();
        let body = body.ok_or(stop(StopReason::BodyNotReplayable))?;
        Ok(self.schedule(now, wait, body, payment))
    }

    fn schedule(&mut self, now: Instant, wait: Wait, body: B, payment: Option<Payment>) -> Next<B> {
        let length = wait.until.saturating_duration_since(now);
        self.progress.waited = self.progress.waited.saturating_add(length);
        self.progress.growth = wait.growth;
        self.progress.last_backoff = wait.backoff;
        Next {
            body,
            until: wait.until,
            payment,
        }
    }

    fn end(&mut self, stop: Stop, error: BoxError) -> BoxError {
        let retried = Retried::new(self.info(stop), error);
        match self.last.take() {
            Some(last) => retried.with_last(last.0, last.1).into(),
            None => retried.into(),
        }
    }

    /// Writes down that an attempt has failed.
    fn remember(&mut self, verdict: Verdict, status: Option<StatusCode>) {
        let attempt = Attempt::new(self.progress.attempts, Instant::now(), verdict, status);
        self.history.push(attempt);
        if let Some(trail) = &self.trail {
            trail.fail(attempt);
        }
    }

    fn info(&mut self, stop: Stop) -> RetryInfo {
        #[cfg(feature = "tracing")]
        if stop.reason != StopReason::Answered {
            tracing::debug!(attempts = self.progress.attempts, reason = ?stop.reason, "no retry");
        }
        RetryInfo::new(
            self.progress.attempts,
            self.progress.waited,
            stop.reason,
            stop.not_before,
            mem::take(&mut self.history),
        )
    }
}

/// A copy of `parts`. The extensions are left out if they hold nothing but the context, which is kept apart and written
/// into each attempt: a copy of them would allocate three times.
fn copy(parts: &request::Parts) -> request::Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = parts.method.clone();
    copy.uri = parts.uri.clone();
    copy.version = parts.version;
    copy.headers = parts.headers.clone();
    let context = usize::from(parts.extensions.get::<CallContext>().is_some());
    if parts.extensions.len() > context {
        copy.extensions = parts.extensions.clone();
    }
    copy
}

/// Writes the number of the attempt into its request, for the server.
fn number(parts: &mut request::Parts, attempt: u32, settings: &Settings) {
    if let Some(name) = &settings.attempt_header {
        parts.headers.insert(name, HeaderValue::from(attempt));
    }
    if attempt > 1 && is_grpc(&parts.headers) {
        parts
            .headers
            .insert(GRPC_PREVIOUS_ATTEMPTS, HeaderValue::from(attempt - 1));
    }
}

/// Whether a message with such header fields is one of gRPC's.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
