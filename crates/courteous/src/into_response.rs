use std::sync::Arc;

use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};
use courteous_core::Rejected;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use tokio::time::Instant;

use crate::Error;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What an axum handler answers that makes a call of its own, and ends by `?` as the call has failed. With the feature `axum`.
///
/// | the call | status |
/// |---|---|
/// | was rejected by a limit of ours, after the server's last answer to it had been 429 | 429 |
/// | was rejected by a limit of ours: full, closed as the server asked for a pause, or not free before the deadline; or as the client is shutting down | 503 |
/// | was rejected for what would be rejected again: a malformed or reused idempotency key, a cost above the limit | 500 |
/// | [timed out](Error::is_timeout) | 504 |
/// | failed otherwise: no connection, a connection that was lost | 502 |
///
/// A limit is on what *this* service sends, so it is this service that is overloaded (503, RFC 9110, section 15.6.4), and not
/// its client that has sent too much. 429 is what the handler would have passed on if the server's answer had been the call's
/// outcome. A call that was never sent is no timeout, though its deadline was too close.
///
/// `Retry-After` (RFC 9110, section 10.2.3) is there if [`not_before`](Error::not_before) tells a time to come: whole seconds,
/// rounded up. The body is an `application/problem+json` (RFC 9457) that repeats the status, and tells nothing of the
/// other server, of addresses or of causes. They stay in the response's extensions, as an `Arc<Error>`, for a middleware that
/// logs.
///
/// ```
/// use axum::response::IntoResponse;
/// use courteous::{
///     Error,
///     core::{Elapsed, Scope},
/// };
/// use std::time::Duration;
///
/// let error = Error::new(Elapsed::new(Duration::from_secs(5), Scope::Total));
/// assert_eq!(error.into_response().status(), 504);
/// ```
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = status(&self);
        let title = status.canonical_reason().unwrap_or_default();
        let problem = format!(r#"{{"title":"{title}","status":{}}}"#, status.as_u16());
        let mut response = Response::new(Body::from(problem));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM);
        if let Some(seconds) = self.not_before().and_then(seconds_until) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

fn status(error: &Error) -> StatusCode {
    match error.find::<Rejected>() {
        Some(rejected) if rejected.reason().is_final() => StatusCode::INTERNAL_SERVER_ERROR,
        Some(_) if error.last_status() == Some(StatusCode::TOO_MANY_REQUESTS) => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        None if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
        None => StatusCode::BAD_GATEWAY,
    }
}

/// Whole seconds until `instant`, rounded up. `None` if it has come.
fn seconds_until(instant: Instant) -> Option<u64> {
    let wait = instant.checked_duration_since(Instant::now())?;
    let is_begun = u64::from(wait.subsec_nanos() > 0);
    Some(wait.as_secs().saturating_add(is_begun)).filter(|&seconds| seconds > 0)
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use courteous_core::{Elapsed, History, RejectReason, Retried, RetryInfo, Scope, StopReason};
    use http::HeaderMap;

    use super::*;

    fn retried(not_before: Option<Instant>) -> RetryInfo {
        let stop = StopReason::Rejected;
        RetryInfo::new(1, Duration::ZERO, stop, not_before, History::new())
    }

    fn status_of(error: impl Into<courteous_core::BoxError>) -> u16 {
        Error::new(error).into_response().status().as_u16()
    }

    #[test]
    fn a_status_tells_whose_fault_it_is() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(status_of(reset()), 502);
        assert_eq!(status_of(Retried::new(retried(None), reset().into())), 502);
        assert_eq!(status_of(io::Error::from(io::ErrorKind::TimedOut)), 504);
        for scope in [Scope::Attempt, Scope::Total, Scope::Idle] {
            assert_eq!(status_of(Elapsed::new(Duration::from_secs(1), scope)), 504);
        }
        for (reason, status) in [
            (RejectReason::AtCapacity, 503),
            (RejectReason::QueueFull, 503),
            (RejectReason::MaxWait, 503),
            (RejectReason::Deadline, 503),
            (RejectReason::Paused, 503),
            (RejectReason::Unavailable, 503),
            (RejectReason::NoKey, 503),
            (RejectReason::ShuttingDown, 503),
            (RejectReason::CostAboveBurst, 500),
            (RejectReason::MalformedKey, 500),
            (RejectReason::KeyReused, 500),
        ] {
            assert_eq!(status_of(Rejected::new(reason)), status, "{reason:?}");
        }
        for (last, status) in [(429, 429), (503, 503)] {
            let closed = Rejected::new(RejectReason::Paused);
            let last = StatusCode::from_u16(last).unwrap();
            let error = Retried::new(retried(None), closed.into());
            assert_eq!(status_of(error.with_last(last, HeaderMap::new())), status);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_in_whole_seconds_and_never_too_early() {
        let retry_after = |wait| {
            let rejected = Rejected::new(RejectReason::Paused).with_wait(Instant::now(), wait);
            let response = Error::new(rejected).into_response();
            let value = response.headers().get(RETRY_AFTER).cloned();
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        for (millis, expected) in [
            (0, None),
            (1, Some("1")),
            (1_000, Some("1")),
            (1_001, Some("2")),
            (59_999, Some("60")),
            (86_400_000, Some("86400")),
        ] {
            let wait = Duration::from_millis(millis);
            assert_eq!(retry_after(wait).as_deref(), expected, "{millis} ms");
        }
        let past = retried(Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        let past = Retried::new(past, "odd".into());
        let response = Error::new(past).into_response();
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn the_cause_is_in_the_extensions_and_nowhere_else() {
        let secret = io::Error::other("https://10.0.0.7/?token=s3cret");
        let response = Error::new(secret).into_response();
        let error = response.extensions().get::<Arc<Error>>().unwrap();
        assert!(error.find::<io::Error>().is_some());
        assert!(!format!("{:?}{:?}", response.headers(), response.body()).contains("s3cret"));
    }
}
