//! How a call has ended, as far as letters need to know: pure functions, the same for the layer and
//! for a redrive.

use std::error::Error;

use courteous_classify::wait_after;
use courteous_core::{
    Attempt, CallRecord, Classify, Effect, Elapsed, Fault, Gate, History, Outcome, RefusalCell,
    RejectReason, Rejected, RequestLine, Retried, RetryInfo, Scope, Verdict, find_cause,
};
use http::{Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use crate::{Clock, Failure, PastAttempt, Reason};

/// A call that has failed for good.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failed {
    pub(crate) reason: Reason,
    attempts: u32,
    history: History,
    maybe_sent: bool,
    maybe_processed: bool,
    status: Option<StatusCode>,
    not_before: Option<Instant>,
}

impl Failed {
    /// What `response` means. `None` if it is an answer.
    pub(crate) fn of_response<B: Body>(
        response: &Response<B>,
        call_record: &CallRecord,
        request: &RequestLine,
        classifier: &dyn Classify,
    ) -> Option<Self> {
        let status = Some(response.status());
        if let Some(info) = response.extensions().get::<RetryInfo>() {
            return Self::of_info(info, status);
        }
        if call_record.is_followed() {
            // A retry reports nothing about a first attempt that was answered.
            return None;
        }
        let refusal = RefusalCell::new();
        let outcome = Outcome::response(response).with_request(request);
        let outcome = outcome.with_refusal(&refusal);
        let verdict = classifier.classify(outcome);
        let gate = response.extensions().get().map(Gate::opens_at);
        let hint = || {
            let wait = wait_after(&outcome.result().ok()?)?;
            Instant::now().checked_add(wait)
        };
        let single = Self::of_single(verdict, status)?;
        Some(Self {
            not_before: gate.or_else(hint),
            ..single
        })
    }

    /// What `error` means. `None` if it is in fact a server's answer.
    pub(crate) fn of_error(
        error: &(dyn Error + 'static),
        call_record: &CallRecord,
        request: &RequestLine,
        classifier: &dyn Classify,
    ) -> Option<Self> {
        let rejected = find_cause::<Rejected>(error);
        let mut failed = if let Some(retried) = find_cause::<Retried>(error) {
            let mut failed = Self::of_info(retried.info(), retried.last_status())?;
            // An attempt that an inner retry has ended is not in this history.
            if call_record.is_followed() {
                failed.maybe_sent |= call_record.is_maybe_sent();
                failed.maybe_processed |= call_record.is_maybe_processed();
            }
            failed
        } else {
            let verdict = match rejected {
                Some(rejected) => of_rejected(rejected),
                None => classifier.classify(Outcome::error(error).with_request(request)),
            };
            let mut failed = Self::of_single(verdict, None)?;
            if call_record.is_followed() {
                failed.attempts = call_record.attempts();
                failed.history = call_record.history();
                failed.maybe_sent = call_record.is_maybe_sent();
                failed.maybe_processed = call_record.is_maybe_processed();
                failed.status = last_status(&failed.history);
            } else if rejected.is_some() {
                failed.attempts = 0;
                failed.history = History::new();
            }
            let total =
                find_cause::<Elapsed>(error).is_some_and(|elapsed| elapsed.scope() == Scope::Total);
            if total {
                failed.reason = Reason::Deadline;
            } else if rejected.is_some() {
                failed.reason = Reason::Rejected;
            }
            failed
        };
        if let Some(rejected) = rejected {
            failed.not_before = failed.not_before.or(rejected.not_before());
            if rejected.reason() == RejectReason::KeyReused {
                failed.reason = Reason::KeyReused;
            } else if rejected.reason().is_final() {
                failed.reason = Reason::Unsendable;
            }
        }
        Some(failed)
    }

    /// What a call means that was dropped before it ended.
    pub(crate) fn abandoned(call_record: &CallRecord) -> Self {
        let history = call_record.history();
        Self {
            reason: Reason::Abandoned,
            attempts: if call_record.is_followed() {
                call_record.attempts()
            } else {
                1
            },
            maybe_sent: call_record.is_maybe_sent(),
            maybe_processed: call_record.is_maybe_processed(),
            status: last_status(&history),
            history,
            not_before: None,
        }
    }

    /// Nothing is known.
    pub(crate) fn unknown() -> Self {
        Self {
            reason: Reason::NotRetried,
            attempts: 1,
            history: History::new(),
            maybe_sent: true,
            maybe_processed: true,
            status: None,
            not_before: None,
        }
    }

    /// An answer with `status` that another redrive may not get.
    pub(crate) fn answered(status: StatusCode, call_record: &CallRecord) -> Self {
        let attempts = call_record.attempts().max(1);
        let mut history = call_record.history();
        // A server that refuses the credentials does not act on the request.
        let is_refusal = matches!(status.as_u16(), 401 | 403 | 407);
        let maybe_processed = !is_refusal || history.is_maybe_processed();
        history.push(Attempt::new(
            attempts,
            Instant::now(),
            Verdict::Answered,
            Some(status),
        ));
        Self {
            reason: Reason::Permanent,
            attempts,
            history,
            maybe_sent: true,
            maybe_processed,
            status: Some(status),
            not_before: None,
        }
    }

    /// Whether one of our limits rejected the call before anything was sent.
    pub(crate) fn was_rejected(&self) -> bool {
        self.reason == Reason::Rejected && self.attempts == 0 && !self.maybe_sent
    }

    fn of_info(info: &RetryInfo, status: Option<StatusCode>) -> Option<Self> {
        let history = info.history().clone();
        let reason = match Reason::of(info.stop_reason())? {
            Reason::Permanent if !ended_sent(&history) => Reason::Unsendable,
            reason => reason,
        };
        Some(Self {
            reason,
            attempts: info.attempts(),
            maybe_sent: history.is_maybe_sent(),
            maybe_processed: history.is_maybe_processed(),
            status: status.or(last_status(&history)),
            history,
            not_before: info.not_before(),
        })
    }

    /// A call without a retry; only its end is known.
    fn of_single(verdict: Verdict, status: Option<StatusCode>) -> Option<Self> {
        let reason = match verdict {
            Verdict::Answered => return None,
            Verdict::Transient { .. } => Reason::NotRetried,
            Verdict::Unsendable => Reason::Unsendable,
            _ => Reason::Permanent,
        };
        let mut history = History::new();
        history.push(Attempt::new(1, Instant::now(), verdict, status));
        Some(Self {
            reason,
            attempts: 1,
            maybe_sent: history.is_maybe_sent(),
            maybe_processed: history.is_maybe_processed(),
            history,
            status,
            not_before: None,
        })
    }

    /// The failure in the form of a letter, with wall-clock times and the text of the error.
    pub(crate) fn into_failure(self, clock: &Clock, error: Option<String>) -> Failure {
        let attempts = self.history.attempts().iter();
        Failure {
            attempts: self.attempts,
            history: attempts.map(|past| PastAttempt::of(past, clock)).collect(),
            maybe_sent: self.maybe_sent,
            maybe_processed: self.maybe_processed,
            last_status: self.status,
            last_error: error,
            not_before: self.not_before.map(|instant| clock.at(instant)),
            ..Failure::new(self.reason, clock.now())
        }
    }
}

/// The verdict on a call that one of our limits has rejected. To a retry, such a rejection is not
/// an attempt.
const fn of_rejected(rejected: &Rejected) -> Verdict {
    match rejected.reason().is_final() {
        true => Verdict::Unsendable,
        false => Verdict::transient(Effect::NeverSent, Fault::Throttled),
    }
}

/// Whether a call that would fail again in the same way ended with an attempt that may have been
/// sent. If it did not, that attempt is unsendable, or is in no history because the service was not
/// ready for it.
fn ended_sent(history: &History) -> bool {
    let last = history.attempts().last().map(Attempt::verdict);
    !matches!(
        last,
        None | Some(Verdict::Unsendable | Verdict::Transient { .. })
    )
}

fn last_status(history: &History) -> Option<StatusCode> {
    let mut attempts = history.attempts().iter().rev();
    attempts.find_map(Attempt::status)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use courteous_classify::HttpClassifier;
    use courteous_core::{BoxError, Classified, StopReason};
    use http_body_util::Empty;

    use super::*;

    const NEVER: Verdict = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
    const MAYBE: Verdict = Verdict::transient(Effect::MaybeProcessed, Fault::Server);

    fn history(verdicts: &[Verdict]) -> History {
        let mut history = History::new();
        for (number, &verdict) in (1..).zip(verdicts) {
            let status = (verdict == MAYBE).then_some(StatusCode::BAD_GATEWAY);
            history.push(Attempt::new(number, Instant::now(), verdict, status));
        }
        history
    }

    fn info(stop: StopReason, verdicts: &[Verdict]) -> RetryInfo {
        let attempts = verdicts.len() as u32;
        RetryInfo::new(attempts, Duration::ZERO, stop, None, history(verdicts))
    }

    fn line() -> RequestLine {
        RequestLine::of(&http::Request::new(()))
    }

    fn of_error(error: impl Into<BoxError>, call_record: &CallRecord) -> Option<Failed> {
        Failed::of_error(&*error.into(), call_record, &line(), &HttpClassifier::new())
    }

    fn response(status: u16) -> Response<Empty<&'static [u8]>> {
        Response::builder()
            .status(status)
            .body(Empty::new())
            .unwrap()
    }

    // A retry judges in the same way: what the retry calls a failure, the layer keeps.
    #[test]
    fn without_a_retry_a_call_is_judged_as_a_retry_would() {
        let of = |response: &Response<Empty<&'static [u8]>>| {
            let failed = Failed::of_response(
                response,
                &CallRecord::new(),
                &line(),
                &HttpClassifier::new(),
            );
            failed.map(|failed| (failed.reason, failed.maybe_processed))
        };
        let with = |status: u16, fields: &[(&'static str, &'static str)]| {
            let mut response = response(status);
            for (name, value) in fields {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            of(&response)
        };
        let grpc = ("content-type", "application/grpc");
        let passing = Some((Reason::NotRetried, true));
        assert_eq!(with(200, &[grpc, ("grpc-status", "14")]), passing);
        assert_eq!(with(200, &[grpc, ("grpc-status", "5")]), None);
        assert_eq!(with(409, &[("x-should-retry", "true")]), passing);
        assert_eq!(with(409, &[]), None);
        assert_eq!(with(529, &[]), passing);
        assert_eq!(with(501, &[]), Some((Reason::Permanent, true)));
        assert_eq!(with(429, &[]), Some((Reason::NotRetried, false)));
        let pause = ("retry-after", "5");
        assert_eq!(with(503, &[pause]), Some((Reason::NotRetried, false)));
        assert_eq!(with(503, &[("x-ratelimit-reset", "5")]), passing);
    }

    #[test]
    fn without_a_retry_an_error_tells_what_it_knows() {
        let of = |error: BoxError| {
            let failed = of_error(error, &CallRecord::new()).unwrap();
            (failed.reason, failed.maybe_sent)
        };
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(of(refused.into()), (Reason::NotRetried, false));
        assert_eq!(of("anything".into()), (Reason::NotRetried, true));
        let classified = Classified::new(Verdict::Permanent, "redirected too often");
        assert_eq!(of(classified.into()), (Reason::Permanent, true));
    }

    #[test]
    fn what_a_retry_says_counts_and_not_the_status() {
        let of = |response: &Response<Empty<&'static [u8]>>| {
            Failed::of_response(
                response,
                &CallRecord::new(),
                &line(),
                &HttpClassifier::new(),
            )
            .map(|failed| failed.reason)
        };
        let mut one = response(503);
        assert_eq!(of(&one), Some(Reason::NotRetried));
        one.extensions_mut().insert(info(StopReason::Answered, &[]));
        assert_eq!(of(&one), None);
        let mut other = response(404);
        assert_eq!(of(&other), None);
        other
            .extensions_mut()
            .insert(info(StopReason::AttemptsExhausted, &[MAYBE]));
        assert_eq!(of(&other), Some(Reason::Attempts));
    }

    #[test]
    fn a_retry_that_counts_and_says_nothing_was_answered() {
        let call_record = CallRecord::new();
        call_record.begin_attempt();
        assert_eq!(
            Failed::of_response(
                &response(503),
                &call_record,
                &line(),
                &HttpClassifier::new()
            ),
            None
        );
    }

    #[test]
    fn after_a_retry_it_is_known_whether_the_request_was_sent() {
        for (verdicts, sent) in [(&[NEVER, NEVER][..], false), (&[MAYBE, NEVER], true)] {
            let info = info(StopReason::AttemptsExhausted, verdicts);
            let failed =
                of_error(Retried::new(info, "refused".into()), &CallRecord::new()).unwrap();
            assert_eq!((failed.attempts, failed.maybe_sent), (2, sent));
            assert_eq!(failed.status, sent.then_some(StatusCode::BAD_GATEWAY));
        }
    }

    #[test]
    fn what_a_retry_further_in_may_have_sent_is_not_what_a_limit_rejected() {
        // The outer retry knows of no attempt; the inner one has begun one.
        let rejected = Rejected::new(RejectReason::QueueFull);
        let retried = || Retried::new(info(StopReason::Rejected, &[]), rejected.into());
        let call_record = CallRecord::new();
        let failed = of_error(retried(), &call_record).unwrap();
        assert!(!failed.maybe_sent && failed.was_rejected());
        call_record.begin_attempt();
        let failed = of_error(retried(), &call_record).unwrap();
        assert!(failed.maybe_sent && !failed.was_rejected());
    }

    #[test]
    fn after_a_total_timeout_the_record_tells() {
        let elapsed = || Elapsed::new(Duration::from_secs(1), Scope::Total);
        let call_record = CallRecord::new();
        // No retry counts: perhaps there is no retry to report on the attempts.
        let failed = of_error(elapsed(), &call_record).unwrap();
        assert_eq!(
            (failed.reason, failed.attempts, failed.maybe_sent),
            (Reason::Deadline, 1, true)
        );
        call_record.begin_attempt();
        call_record.fail_attempt(Attempt::new(1, Instant::now(), NEVER, None));
        let failed = of_error(elapsed(), &call_record).unwrap();
        assert_eq!((failed.attempts, failed.maybe_sent), (1, false));
        call_record.begin_attempt();
        let failed = of_error(elapsed(), &call_record).unwrap();
        assert_eq!((failed.attempts, failed.maybe_sent), (2, true));
        assert_eq!(failed.history.attempts().len(), 1);
    }

    #[test]
    fn a_call_that_ended_before_its_first_attempt_was_not_sent() {
        let call_record = CallRecord::new();
        call_record.begin_attempt();
        call_record.reject_attempt();
        let elapsed = Elapsed::new(Duration::from_secs(1), Scope::Total);
        for failed in [
            of_error(elapsed, &call_record).unwrap(),
            Failed::abandoned(&call_record),
        ] {
            assert_eq!((failed.attempts, failed.maybe_sent), (0, false));
            assert!(failed.history.attempts().is_empty());
        }
    }

    #[test]
    fn what_a_limit_rejected_was_not_sent_and_may_be_later() {
        let wait = Duration::from_secs(9);
        let now = Instant::now();
        let rejected = Rejected::new(RejectReason::Paused).with_wait(now, wait);
        let failed = of_error(rejected, &CallRecord::new()).unwrap();
        assert_eq!(
            (failed.reason, failed.attempts, failed.maybe_sent),
            (Reason::Rejected, 0, false)
        );
        assert_eq!(failed.not_before, Some(now + wait));

        let reused = Rejected::new(RejectReason::KeyReused);
        let failed = of_error(reused, &CallRecord::new()).unwrap();
        assert_eq!(failed.reason, Reason::KeyReused);
        for never in [RejectReason::CostAboveBurst, RejectReason::MalformedKey] {
            let never = Rejected::new(never);
            let failed = of_error(never, &CallRecord::new()).unwrap();
            assert_eq!(failed.reason, Reason::Unsendable);
            let retried = Retried::new(info(StopReason::Rejected, &[]), never.into());
            let failed = of_error(retried, &CallRecord::new()).unwrap();
            assert_eq!(failed.reason, Reason::Unsendable);
        }
    }

    #[test]
    fn without_a_retry_the_hint_is_read_here() {
        let mut response = response(429);
        response
            .headers_mut()
            .insert("retry-after", "60".parse().unwrap());
        let failed = Failed::of_response(
            &response,
            &CallRecord::new(),
            &line(),
            &HttpClassifier::new(),
        )
        .unwrap();
        assert!(failed.not_before.unwrap() > Instant::now() + Duration::from_secs(50));
        let gate = Gate::new(Instant::now());
        response.extensions_mut().insert(gate);
        let failed = Failed::of_response(
            &response,
            &CallRecord::new(),
            &line(),
            &HttpClassifier::new(),
        )
        .unwrap();
        assert_eq!(failed.not_before, Some(gate.opens_at()));
    }

    #[test]
    fn what_would_fail_alike_is_unsendable_if_its_last_attempt_was_not_sent() {
        let reason = |verdicts: &[Verdict]| {
            let retried = Retried::new(info(StopReason::Permanent, verdicts), "gone".into());
            let failed = of_error(retried, &CallRecord::new()).unwrap();
            (failed.reason, failed.maybe_sent)
        };
        assert_eq!(reason(&[Verdict::Unsendable]), (Reason::Unsendable, false));
        assert_eq!(
            reason(&[MAYBE, Verdict::Unsendable]),
            (Reason::Unsendable, true)
        );
        // The service was not ready for another attempt.
        assert_eq!(reason(&[MAYBE]), (Reason::Unsendable, true));
        assert_eq!(reason(&[NEVER]), (Reason::Unsendable, false));
        for sent in [Verdict::Permanent, Verdict::Answered] {
            assert_eq!(reason(&[NEVER, sent]), (Reason::Permanent, true));
        }
    }

    #[test]
    fn a_dropped_call_may_have_been_sent_unless_a_retry_knows_better() {
        let call_record = CallRecord::new();
        assert!(Failed::abandoned(&call_record).maybe_sent);
        call_record.begin_attempt();
        call_record.fail_attempt(Attempt::new(1, Instant::now(), NEVER, None));
        assert!(!Failed::abandoned(&call_record).maybe_sent);
        call_record.begin_attempt();
        let failed = Failed::abandoned(&call_record);
        assert_eq!((failed.attempts, failed.maybe_sent), (2, true));
    }
}
