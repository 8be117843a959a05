mod observed;

use std::{
    mem,
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use courteous_budget::{Payment, Receipt};
use courteous_classify::is_grpc;
use courteous_core::{
    Attempt, BoxError, CallContext, CallId, CallKeys, ClaimedKey, Effect, Elapsed, Fault, History,
    KeyClaim, NoRuntime, ObserveOnly, Outcome, RejectReason, Rejected, RequestLine, Retried,
    RetryInfo, Scope, StopReason, Trail, Upload, Verdict, find_cause, is_idempotent,
};
use courteous_replay::{Keep, NotReplayable};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::{
    RetryEvent, events,
    policy::{Allowance, Decision, Plan, Progress, RequestFacts, Situation, Stop, Wait},
    settings::Settings,
    snapshot::Snapshot,
};

/// Counts the attempts before this one, for servers (gRFC A6).
const GRPC_PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// How long the rest of a discarded body may take.
const DRAIN_TIME: Duration = Duration::from_millis(50);

/// The verdict on an error that says nothing of its reason.
const UNKNOWN: Verdict = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);

/// A limit that is closed is asked again after this time at the earliest, whatever it says.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// One call: all that is known between its attempts.
pub(crate) struct Call<S, K: Keep<B>, B> {
    pub(crate) service: S,
    settings: Arc<Settings>,
    keep: K,
    /// For further attempts, the classifier, and who listens. There from the [beginning](Self::begin) on.
    line: Option<RequestLine>,
    /// The rest of the request as it came, to make each further attempt of. `None` if there can be only one.
    snapshot: Option<Snapshot<K::Kept>>,
    facts: RequestFacts,
    max_attempts: Allowance,
    context: CallContext,
    /// The key, if a key layer has given it to one operation.
    key: Option<ClaimedKey>,
    /// For a key layer further in, if the call is sent again where it may have been processed, and has no key.
    keys: Option<CallKeys>,
    /// Where a layer outside reads how the call goes.
    trail: Option<Trail>,
    /// The call is only observed.
    observed: Option<ObserveOnly>,
    /// Boxed, as nearly all calls end with their first attempt, and each byte of a call is moved several times.
    later: Option<Pin<Box<Later<B>>>>,
}

pin_project! {
    /// What a call needs only after its first attempt.
    struct Later<B> {
        so_far: SoFar<B>,
        // One for all waits of the call, made at the first that is one.
        #[pin]
        timer: Option<Sleep>,
    }
}

/// What there is to know of a call once an attempt has failed or was refused.
struct SoFar<B> {
    progress: Progress,
    history: History,
    /// What the response that was let go last said.
    last: Option<(StatusCode, HeaderMap)>,
    /// What the attempt that is under way has paid.
    receipt: Option<Receipt>,
    next: Option<Next<B>>,
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
    /// To wait for the next attempt.
    Wait,
    /// Before that, to read what is left of the body of a response, until then at the latest.
    Drain(RB, Instant),
}

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// A call that is to [begin](Self::begin).
    #[inline(always)]
    pub(crate) fn new(service: S, settings: Arc<Settings>, keep: K) -> Self {
        Self {
            service,
            settings,
            keep,
            line: None,
            snapshot: None,
            facts: RequestFacts::default(),
            max_attempts: Allowance::Disabled,
            context: CallContext::default(),
            key: None,
            keys: None,
            trail: None,
            observed: None,
            later: None,
        }
    }

    /// Notes what is to be known of `request`, from which the first attempt is then made. Fails if another operation has the
    /// request's key.
    // Into its place: inlined it would be put together elsewhere, and moved twice.
    #[inline(never)]
    pub(crate) fn begin(&mut self, request: &mut Request<B>) -> Result<(), BoxError> {
        self.line = Some(RequestLine::of(request));
        let extensions = request.extensions();
        let context = extensions.get::<CallContext>().copied();
        let outer_attempt = context.and_then(|context| context.attempt());
        // Mostly there is nothing else: then nothing else is looked up, nor copied.
        let mut known = usize::from(context.is_some());
        let claim = match extensions.len() > known {
            true => extensions.get::<KeyClaim>(),
            false => None,
        };
        known += usize::from(claim.is_some());
        // A safe request does nothing that could be done twice.
        if let Some(claim) = claim.filter(|_| !request.method().is_safe()) {
            self.key = claim.claim(outer_attempt);
            if self.key.is_none() {
                return Err(self.key_reused());
            }
        }
        // Not before the key is claimed: the operation that has it may write into the same trail.
        if request.extensions().len() > known {
            self.trail = request.extensions_mut().remove::<Trail>();
        }
        if let Some(trail) = &self.trail {
            trail.begin(1);
        }
        let has_more = request.extensions().len() > known;
        let overrides = match has_more {
            true => request.extensions(),
            false => &Extensions::new(),
        };
        self.facts = self.settings.facts(request, overrides);
        if let (Some(trail), Some(said)) = (&self.trail, self.facts.said) {
            trail.say_idempotent(said);
        }
        self.max_attempts = self.settings.max_attempts(overrides);
        self.context = context.unwrap_or_default();
        if let Some(key) = &self.key
            && let Some(claim) = request.extensions_mut().get_mut::<KeyClaim>()
        {
            // In its place, as another one would allocate. One attempt has no number that tells it from this call's own claim.
            *claim = match self.max_attempts.get() {
                1 => KeyClaim::new(),
                _ => key.for_retries_inside(),
            };
        }
        if self.max_attempts.get() > 1 {
            let body_limit = self.settings.body_limit(request, self.facts);
            let kept = self.keep.keep_in_place(request.body_mut(), body_limit);
            self.snapshot = Some(Snapshot::of(request, has_more, kept));
            if !self.facts.keyed && !is_idempotent(request.method()) {
                let is_within_another =
                    has_more && request.extensions().get::<CallKeys>().is_some();
                self.identify(is_within_another);
            }
            self.context.set_attempt(NonZeroU32::MIN);
            *CallContext::edit(request.extensions_mut()) = self.context;
            if let Some(keys) = &self.keys {
                request.extensions_mut().insert(keys.clone());
            }
            self.watch(request);
        } else if request.extensions().get::<Upload>().is_none()
            && let Some(upload) = self.keep.watch_in_place(request.body_mut())
        {
            request.extensions_mut().insert(upload);
        }
        number(request.headers_mut(), 1, &self.settings);
        Ok(())
    }

    /// Gives the call an id, for a key layer further in. If none can be drawn, that adds no key, and this retry goes by that.
    ///
    /// It can derive no keys if the call `is_within_another` whose attempts derive them: there, they would not be the same.
    fn identify(&mut self, is_within_another: bool) {
        let is_outermost = self.context.call_id().is_none();
        let id = self.context.ensure_call_id().ok();
        if is_within_another {
            self.keys = Some(CallKeys::new(None));
        } else if self.facts.idempotent {
            // Each operation of an attempt of another retry has its own.
            let id = match is_outermost {
                true => id,
                false => CallId::random().ok(),
            };
            self.keys = Some(CallKeys::new(id));
        }
    }

    /// Tells the layers inside how the body of `request` goes out, if it streams.
    fn watch(&self, request: &mut Request<B>) {
        let kept = self.snapshot.as_ref().map(Snapshot::body);
        if let Some(upload) = kept.and_then(|kept| self.keep.upload(kept)) {
            request.extensions_mut().insert(upload);
        }
    }

    /// The deadline of the call.
    const fn deadline(&self) -> Option<Instant> {
        self.context.deadline()
    }

    /// How long a body that was discarded at `now` may be read, unless that is so close to the deadline that it would take
    /// the next attempt's time. Then no longer than the wait.
    fn drain_until(&self, now: Instant) -> Instant {
        let limit = now + DRAIN_TIME;
        match (self.deadline(), self.next_at()) {
            (Some(deadline), Some(next)) if limit >= deadline => limit.min(next),
            _ => limit,
        }
    }

    /// When the next attempt is to be made, if there is to be one.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let next = self.later.as_ref()?.so_far.next.as_ref();
        next.map(|next| next.until)
    }

    /// Waits until `until`. Fails if there is no runtime to wait on.
    pub(crate) fn wait(
        &mut self,
        until: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NoRuntime>> {
        let mut timer = self.later().project().timer;
        if timer.as_ref().as_pin_ref().map(|timer| timer.deadline()) != Some(until) {
            if until <= Instant::now() {
                return Poll::Ready(Ok(()));
            }
            match timer.as_mut().as_pin_mut() {
                Some(timer) => timer.reset(until),
                None => timer.set(Some(courteous_core::timer(until)?)),
            }
        }
        timer
            .as_pin_mut()
            .map_or(Poll::Ready(()), |timer| timer.poll(cx))
            .map(Ok)
    }

    /// The request of the next attempt, which is on its way from here on.
    pub(crate) fn start(&mut self) -> Option<Request<B>> {
        let so_far = self.later.as_mut()?.as_mut().project().so_far;
        let next = so_far.next.take()?;
        let line = self.line.as_ref()?;
        let mut request = self.snapshot.as_mut()?.request(line, next.body);
        so_far.receipt = next.payment.map(Payment::sent);
        so_far.progress.attempts = so_far.progress.attempts.saturating_add(1);
        let attempt = so_far.progress.attempts;
        if let Some(attempt) = NonZeroU32::new(attempt) {
            self.context.set_attempt(attempt);
        }
        if let Some(trail) = &self.trail {
            trail.begin(attempt);
        }
        *CallContext::edit(request.extensions_mut()) = self.context;
        if let Some(key) = &self.key {
            request.extensions_mut().insert(key.for_retries_inside());
        }
        if let Some(keys) = &self.keys {
            request.extensions_mut().insert(keys.next_attempt());
        }
        self.watch(&mut request);
        number(request.headers_mut(), attempt, &self.settings);
        Some(request)
    }

    /// The end of a call that cannot make another attempt: its service is not ready, or there is no runtime to wait on.
    pub(crate) fn no_attempt(&mut self, error: BoxError) -> BoxError {
        self.so_far().next = None;
        self.end(
            Stop {
                reason: StopReason::Permanent,
                not_before: None,
            },
            error,
        )
    }

    /// The end of a call that was not begun, as another operation was sent under its key.
    fn key_reused(&mut self) -> BoxError {
        self.so_far().progress.attempts = 0;
        let stop = Stop {
            reason: StopReason::Rejected,
            not_before: None,
        };
        self.end(stop, Rejected::new(RejectReason::KeyReused).into())
    }

    /// Whether the source of the request's body has failed: clients call that an error of the user's, and other things, too.
    fn has_source_failed(&self) -> bool {
        let kept = self.snapshot.as_ref().map(Snapshot::body);
        kept.is_some_and(|kept| self.keep.check(kept) == Err(NotReplayable::SourceFailed))
    }

    /// What follows from what came of an attempt.
    pub(crate) fn judge<RB: Body>(&mut self, result: Result<Response<RB>, BoxError>) -> Step<RB> {
        let step = match result {
            Ok(response) => self.responded(response),
            Err(error) => self.failed(error),
        };
        if let Step::Return(result) = &step {
            // A body that is still being sent need not be kept any longer.
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
        let verdict = match self.classify(Outcome::response(&response)) {
            // Sent again, it was no early data. It is not refused for that a second time.
            Verdict::Transient { .. } if self.was_too_early(response.status()) => Verdict::Answered,
            Verdict::Answered if self.is_in_progress(response.status()) => {
                Verdict::transient(Effect::InProgress, Fault::Server)
            }
            verdict => verdict,
        };
        if verdict == Verdict::Answered {
            if is_success(&response) {
                self.settings.budget.deposit();
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
        match self.plan(now, Outcome::response(&response), verdict) {
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
                // Another request of this attempt was sent under the key, and may have been processed.
                RejectReason::KeyReused => {
                    self.remember(now, UNKNOWN, None);
                    Err(Stop {
                        reason: StopReason::Rejected,
                        not_before: None,
                    })
                }
                _ => self.refused(now, rejected),
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

    /// What `outcome` of an attempt means.
    fn classify(&self, outcome: Outcome<'_>) -> Verdict {
        let outcome = match &self.line {
            Some(line) => outcome.with_request(line),
            None => outcome,
        };
        self.settings.classifier.classify(outcome)
    }

    /// The next attempt after one that has failed, or why there is none.
    fn plan(
        &mut self,
        now: Instant,
        outcome: Outcome<'_>,
        verdict: Verdict,
    ) -> Result<Next<B>, Stop> {
        let progress = self.so_far().progress;
        let kept = self.snapshot.as_ref().map(Snapshot::body);
        let situation = Situation {
            request: self.facts,
            replayable: kept.is_some_and(|kept| self.keep.check(kept).is_ok()),
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
        let payment = self.settings.budget.withdraw(now, fault, gate);
        let payment = payment.ok_or(stop(StopReason::BudgetExhausted))?;
        // Overtakes the body of the attempt that has failed: what is still being sent of it ends here.
        let body = kept.and_then(|kept| self.keep.again(kept).ok());
        let body = body.ok_or(stop(StopReason::BodyNotReplayable))?;
        if let Some(request) = &self.line {
            let event = RetryEvent {
                attempt: progress.attempts,
                wait: wait.until.saturating_duration_since(now),
                request,
                outcome: outcome.with_request(request),
                verdict,
            };
            if let Some(on_retry) = &self.settings.on_retry {
                on_retry(&event);
            }
            events::retry(&event);
        }
        Ok(self.schedule(now, wait, body, Some(payment)))
    }

    /// A limit further in has refused the attempt: it was none. If the limit is closed, it is this call that waits, with
    /// nothing held.
    fn refused(&mut self, now: Instant, rejected: &Rejected) -> Result<Next<B>, Stop> {
        let stop = |reason| Stop {
            reason,
            not_before: rejected.not_before(),
        };
        let refused = stop(StopReason::Rejected);
        let so_far = self.so_far();
        so_far.progress.attempts = so_far.progress.attempts.saturating_sub(1);
        let progress = so_far.progress;
        let payment = so_far.receipt.take().map(Receipt::unsent);
        if let Some(trail) = &self.trail {
            trail.refuse();
        }
        let gate = rejected.gate().ok_or(refused)?;
        let kept = self.snapshot.as_ref().ok_or(refused)?.body();
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
        Ok(self.schedule(now, wait, body, payment))
    }

    fn schedule(&mut self, now: Instant, wait: Wait, body: B, payment: Option<Payment>) -> Next<B> {
        let length = wait.until.saturating_duration_since(now);
        let progress = &mut self.so_far().progress;
        progress.waited = progress.waited.saturating_add(length);
        progress.growth = wait.growth;
        progress.last_backoff = wait.backoff;
        Next {
            body,
            until: wait.until,
            payment,
        }
    }

    fn end(&mut self, stop: Stop, error: BoxError) -> BoxError {
        let retried = Retried::new(self.info(stop), error);
        match self.so_far().last.take() {
            Some(last) => retried.with_last(last.0, last.1).into(),
            None => retried.into(),
        }
    }

    /// Whether `status` says that the request came too early, as that of an earlier attempt did.
    fn was_too_early(&self, status: StatusCode) -> bool {
        let said = |later: &Pin<Box<Later<B>>>| {
            let mut attempts = later.so_far.history.attempts().iter();
            attempts.any(|attempt| attempt.status() == Some(status))
        };
        status == StatusCode::TOO_EARLY && self.later.as_ref().is_some_and(said)
    }

    /// Whether `status` says that an earlier attempt is still at work under the request's key: what the IETF draft means by 409
    /// (draft-ietf-httpapi-idempotency-key-header-07, section 2.6). Without an attempt that may have been processed, it is an
    /// answer.
    fn is_in_progress(&self, status: StatusCode) -> bool {
        let history = self.later.as_ref().map(|later| &later.so_far.history);
        status == StatusCode::CONFLICT
            && self.facts.keyed
            && history.is_some_and(History::is_maybe_processed)
    }

    /// Adds what a retry further in has made of the attempt: its own attempts stand for this one.
    fn add(&mut self, inner: &RetryInfo) {
        let so_far = self.so_far();
        let receipt = so_far.receipt.take();
        if inner.attempts() == 0 {
            drop(receipt.map(Receipt::unsent));
        }
        let before = so_far.progress.attempts.saturating_sub(1);
        let progress = &mut so_far.progress;
        progress.attempts = before.saturating_add(inner.attempts());
        progress.waited = progress.waited.saturating_add(inner.waited());
        so_far.history.append(inner.history(), before);
        let attempts = progress.attempts;
        if let Some(trail) = &self.trail {
            trail.add(attempts, inner, before);
        }
    }

    /// Writes down that an attempt has failed. What it paid is spent.
    fn remember(&mut self, now: Instant, verdict: Verdict, status: Option<StatusCode>) {
        let so_far = self.so_far();
        let attempt = Attempt::new(so_far.progress.attempts, now, verdict, status);
        so_far.receipt = None;
        so_far.history.push(attempt);
        if let Some(trail) = &self.trail {
            trail.fail(attempt);
        }
    }

    fn info(&mut self, stop: Stop) -> RetryInfo {
        let so_far = self.so_far();
        let info = RetryInfo::new(
            so_far.progress.attempts,
            so_far.progress.waited,
            stop.reason,
            stop.not_before,
            mem::take(&mut so_far.history),
        );
        if stop.reason != StopReason::Answered {
            events::stopped(&info, self.line.as_ref());
        }
        info
    }

    fn so_far(&mut self) -> &mut SoFar<B> {
        self.later().project().so_far
    }

    fn later(&mut self) -> Pin<&mut Later<B>> {
        let later = self.later.get_or_insert_with(|| {
            Box::pin(Later {
                so_far: SoFar {
                    progress: Progress::new(self.max_attempts),
                    history: History::new(),
                    last: None,
                    receipt: None,
                    next: None,
                },
                timer: None,
            })
        });
        later.as_mut()
    }
}

/// Whether an attempt after which a retry further in has given up is not to be repeated here: each attempt of this retry would
/// be several of the other. A retry that is off, and one that has sent nothing, multiply nothing.
fn ends_the_call(inner: &RetryInfo) -> bool {
    match inner.stop_reason() {
        StopReason::Answered | StopReason::Disabled => false,
        StopReason::AttemptsExhausted => inner.attempts() > 1,
        StopReason::Rejected => inner.attempts() > 0 || inner.history().is_maybe_sent(),
        _ => true,
    }
}

/// Whether a call has ended so that what follows under its key is the same operation: no server has acted on it, or the server
/// asks for the same request at another place or with other credentials.
fn leaves_the_key<RB>(result: &Result<Response<RB>, BoxError>) -> bool {
    match result {
        Ok(response) => {
            // After any other redirect, such as 303, the server may have acted (RFC 9110, section 15.4.4).
            matches!(
                response.status().as_u16(),
                307 | 308 | 401 | 407 | 421 | 425
            )
        }
        Err(error) => find_cause::<Retried>(&**error)
            .is_none_or(|retried| !retried.info().history().is_maybe_processed()),
    }
}

/// Whether an answer shows that the server does what it is asked. One that refuses earns no retry: a client that is refused each
/// time would pay for its retries with refusals.
fn is_success<RB: Body>(response: &Response<RB>) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let failed = || {
        let status = headers.get("grpc-status");
        status.is_some_and(|status| status != "0")
    };
    let is_grpc_failure = || response.body().is_end_stream() && is_grpc(headers) && failed();
    !status.is_client_error() && !status.is_server_error() && !is_grpc_failure()
}

/// Writes the number of the attempt into its request, for the server.
fn number(headers: &mut HeaderMap, attempt: u32, settings: &Settings) {
    if let Some(name) = &settings.attempt_header {
        headers.insert(name, HeaderValue::from(attempt));
    }
    if attempt > 1 && is_grpc(headers) {
        headers.insert(GRPC_PREVIOUS_ATTEMPTS, HeaderValue::from(attempt - 1));
    }
}
