//! What a retry tells a subscriber: the table is on the crate's page.

#[cfg(feature = "tracing")]
pub(crate) use told::{observed, retry, stopped};
#[cfg(not(feature = "tracing"))]
pub(crate) use untold::{observed, retry, stopped};

#[cfg(feature = "tracing")]
mod told {
    use std::time::Duration;

    use courteous_core::{Attempt, Fault, RequestLine, RetryInfo, StopReason, Verdict};
    use http::StatusCode;
    use tokio::time::Instant;

    use crate::RetryEvent;

    /// Before the wait for another attempt.
    pub(crate) fn retry(event: &RetryEvent<'_>) {
        tracing::debug!(
            name: "retry",
            target: "courteous::retry",
            attempt = event.attempt(),
            wait_ms = millis(event.wait()),
            fault = fault(event.verdict()).map(Fault::as_str),
            status = event.status().map(|status| status.as_u16()),
            method = event.method().as_str(),
            origin = event.origin().named().map(tracing::field::display),
            "retry"
        );
    }

    /// At the end of a call that has failed.
    #[cold]
    pub(crate) fn stopped(info: &RetryInfo, request: &RequestLine) {
        let last = info.history().attempts().last();
        tracing::debug!(
            name: "stopped",
            target: "courteous::retry",
            attempts = info.attempts(),
            reason = info.stop_reason().as_str(),
            waited_ms = millis(info.waited()),
            wait_ms = info.not_before().map(from_now),
            fault = last.and_then(|last| fault(last.verdict())).map(Fault::as_str),
            status = last.and_then(Attempt::status).map(|status| status.as_u16()),
            method = request.method().as_str(),
            origin = request.origin().named().map(tracing::field::display),
            "stopped"
        );
    }

    /// After the only attempt of a call that is only observed: with a retry, if that `is_paid`, and else without one.
    #[cold]
    pub(crate) fn observed(
        wait: Duration,
        is_paid: bool,
        fault: Option<Fault>,
        status: Option<StatusCode>,
        request: &RequestLine,
    ) {
        let fault = fault.map(Fault::as_str);
        let status = status.map(|status| status.as_u16());
        let method = request.method().as_str();
        let origin = request.origin();
        let origin = origin.named().map(tracing::field::display);
        match is_paid {
            true => tracing::debug!(
                name: "retry",
                target: "courteous::retry",
                observed = true,
                attempt = 1,
                wait_ms = millis(wait),
                fault,
                status,
                method,
                origin,
                "retry"
            ),
            false => tracing::debug!(
                name: "stopped",
                target: "courteous::retry",
                observed = true,
                attempts = 1,
                reason = StopReason::BudgetExhausted.as_str(),
                fault,
                status,
                method,
                origin,
                "stopped"
            ),
        }
    }

    const fn fault(verdict: Verdict) -> Option<Fault> {
        match verdict {
            Verdict::Transient { fault, .. } => Some(fault),
            _ => None,
        }
    }

    fn from_now(end: Instant) -> u64 {
        millis(end.saturating_duration_since(Instant::now()))
    }

    fn millis(time: Duration) -> u64 {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(not(feature = "tracing"))]
mod untold {
    use std::time::Duration;

    use courteous_core::{Fault, RequestLine, RetryInfo};
    use http::StatusCode;

    use crate::RetryEvent;

    pub(crate) const fn retry(_: &RetryEvent<'_>) {}

    pub(crate) const fn stopped(_: &RetryInfo, _: &RequestLine) {}

    pub(crate) const fn observed(
        _: Duration,
        _: bool,
        _: Option<Fault>,
        _: Option<StatusCode>,
        _: &RequestLine,
    ) {
    }
}
