use std::{error::Error, sync::Arc};

use courteous_classify::is_grpc;
use courteous_core::{
    BoxError, Elapsed, RejectReason, Rejected, Retried, RetryInfo, StopReason, find_cause,
};
use http::{HeaderMap, Response, StatusCode};
use tonic::{Code, Status, TimeoutExpired, metadata::MetadataMap};

use crate::FailedAnswer;

/// The gRPC status for `error`.
///
/// | in the error's chain | status |
/// |---|---|
/// | a [`Status`] | the same status, code and message unchanged |
/// | [`Elapsed`] | DEADLINE_EXCEEDED |
/// | [`Rejected`], as the deadline leaves too little time | DEADLINE_EXCEEDED |
/// | [`Rejected`], as the client is shutting down | UNAVAILABLE |
/// | [`Rejected`] for any other reason | RESOURCE_EXHAUSTED |
/// | tonic's own [`TimeoutExpired`], Tokio's and Tower's `Elapsed` | DEADLINE_EXCEEDED |
/// | every other error | as [`Status::from_error`] says |
///
/// Tonic itself calls an expired timeout CANCELLED. A channel enforces the `grpc-timeout` that an
/// attempt timeout writes, and may be the first to notice the deadline. So the same deadline has
/// one status.
///
/// A message that is made here says why the last attempt failed, and then why a retry made no
/// further attempt: "transport error; gave up after 2 attempts: the retry budget is spent".
///
/// The error stays in the status as its source. So `find_cause::<Rejected>(&status)` still tells
/// when to come back, and `find_cause::<Retried>(&status)` tells why there was no further attempt.
/// None of this is put into the metadata: a server that passes the status on does not tell its own
/// clients what to do.
#[must_use]
pub fn to_status(error: impl Into<BoxError>) -> Status {
    let error = error.into();
    if find_cause::<Status>(&*error).is_some() {
        return Status::from_error(error);
    }
    let stopped = find_cause::<Retried>(&*error).and_then(Stopped::of);
    if let Some((code, message)) = known(&*error) {
        let message = Stopped::after(stopped, message);
        return with_source(code, message, Arc::from(error));
    }
    let Some(stopped) = stopped else {
        return Status::from_error(error);
    };
    match Status::try_from_error(error) {
        Ok(status) => {
            let message = Stopped::after(Some(stopped), status.message().to_owned());
            with_source(status.code(), message, Arc::new(status))
        }
        Err(error) => {
            let cause = stopped.cause.clone();
            let message = Stopped::after(Some(stopped), cause);
            with_source(Code::Unknown, message, Arc::from(error))
        }
    }
}

/// The status of an answer after which a retry inside gave up. `None` for every other response.
///
/// It is the status that a generated client would make of the response. The client cannot see the
/// response's extensions, so their information is in the status's source.
pub(crate) fn given_up<B>(response: &Response<B>) -> Option<Status> {
    let info = response.extensions().get::<RetryInfo>()?;
    if info.stop_reason() == StopReason::Answered {
        return None;
    }
    let mut status = of_head(response.status(), response.headers())?;
    let answer = FailedAnswer::new(status.code(), response.extensions().clone());
    status.set_source(Arc::new(Retried::new(info.clone(), answer.into())));
    Some(status)
}

/// The failure that the head of a response states. `None` if there may be more to it, or if it
/// states none.
fn of_head(http: StatusCode, headers: &HeaderMap) -> Option<Status> {
    if headers.contains_key(GRPC_STATUS) {
        let details = || MetadataMap::from_headers(headers.clone());
        let is_readable = |details: MetadataMap| match details.get_bin(GRPC_DETAILS) {
            Some(value) => value.to_bytes().is_ok(),
            None => true,
        };
        let status = if !headers.contains_key(GRPC_DETAILS) || is_readable(details()) {
            Status::from_header_map(headers)
        } else {
            // Tonic panics if it cannot read them.
            let mut headers = headers.clone();
            headers.remove(GRPC_DETAILS);
            Status::from_header_map(&headers)
        };
        return status.filter(|status| status.code() != Code::Ok);
    }
    if http.is_success() || is_grpc(headers) {
        return None;
    }
    let message = format!(
        "grpc-status header missing, mapped from HTTP status code {}",
        http.as_u16()
    );
    Some(Status::new(of_http(http), message))
}

/// The meaning of an HTTP status from a proxy or a load balancer that does not know gRPC.
const fn of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

const GRPC_STATUS: &str = "grpc-status";
const GRPC_DETAILS: &str = "grpc-status-details-bin";

/// Code and message of an error that tonic does not know, or names differently.
fn known(error: &(dyn Error + 'static)) -> Option<(Code, String)> {
    if let Some(elapsed) = find_cause::<Elapsed>(error) {
        return Some((Code::DeadlineExceeded, elapsed.to_string()));
    }
    if let Some(rejected) = find_cause::<Rejected>(error) {
        let code = match rejected.reason() {
            RejectReason::Deadline => Code::DeadlineExceeded,
            RejectReason::ShuttingDown => Code::Unavailable,
            _ => Code::ResourceExhausted,
        };
        return Some((code, rejected.to_string()));
    }
    let late = |text: String| (Code::DeadlineExceeded, text);
    let tonics = || find_cause::<TimeoutExpired>(error).map(ToString::to_string);
    let towers = || find_cause::<tower::timeout::error::Elapsed>(error).map(ToString::to_string);
    let tokios = || find_cause::<tokio::time::error::Elapsed>(error).map(ToString::to_string);
    tonics().or_else(towers).or_else(tokios).map(late)
}

/// Why a retry made no further attempt.
struct Stopped {
    /// Why the last attempt failed.
    cause: String,
    why: String,
}

impl Stopped {
    /// `None` if there was no attempt: then the failure itself tells why.
    fn of(retried: &Retried) -> Option<Self> {
        let (attempts, reason) = (retried.info().attempts(), retried.info().stop_reason());
        let s = if attempts == 1 { "" } else { "s" };
        Some(Self {
            cause: retried.source()?.to_string(),
            why: format!("gave up after {attempts} attempt{s}: {reason}"),
        })
        .filter(|_| attempts > 0)
    }

    fn after(stopped: Option<Self>, message: String) -> String {
        match stopped {
            Some(stopped) => format!("{message}; {}", stopped.why),
            None => message,
        }
    }
}

fn with_source(
    code: Code,
    message: String,
    source: Arc<dyn Error + Send + Sync + 'static>,
) -> Status {
    let mut status = Status::new(code, message);
    status.set_source(source);
    status
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use courteous_core::{History, Scope};

    use super::*;

    fn elapsed() -> Elapsed {
        Elapsed::new(Duration::from_secs(3), Scope::Total)
    }

    #[test]
    fn a_timeout_is_deadline_exceeded_at_any_depth() {
        for error in [
            elapsed().into(),
            BoxError::from(io::Error::other(elapsed())),
        ] {
            let status = to_status(error);
            assert_eq!(status.code(), Code::DeadlineExceeded);
            assert_eq!(status.message(), "call not finished within 3s");
            assert_eq!(find_cause::<Elapsed>(&status), Some(&elapsed()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_of_tokios_or_towers_is_deadline_exceeded() {
        let never = std::future::pending::<()>();
        let tokio = tokio::time::timeout(Duration::ZERO, never)
            .await
            .unwrap_err();
        let tower = tower::timeout::error::Elapsed::new();
        for error in [BoxError::from(tokio), io::Error::other(tower).into()] {
            assert_eq!(to_status(error).code(), Code::DeadlineExceeded);
        }
    }

    #[test]
    fn a_rejection_is_resource_exhausted_and_commands_nobody() {
        let rejected = Rejected::new(RejectReason::QueueFull);
        let status = to_status(rejected);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(find_cause::<Rejected>(&status), Some(&rejected));
        assert!(status.metadata().is_empty());
        let late = to_status(Rejected::new(RejectReason::Deadline));
        assert_eq!(late.code(), Code::DeadlineExceeded);
        let closed = to_status(Rejected::new(RejectReason::ShuttingDown));
        assert_eq!(closed.code(), Code::Unavailable);
    }

    #[test]
    fn a_status_stays_what_it_is() {
        let mut status = Status::aborted("stale");
        status.set_source(Arc::new(elapsed()));
        let status = to_status(status);
        assert_eq!((status.code(), status.message()), (Code::Aborted, "stale"));
        assert!(find_cause::<Elapsed>(&status).is_some());
    }

    #[test]
    fn all_else_is_tonics() {
        let status = to_status("odd");
        assert_eq!((status.code(), status.message()), (Code::Unknown, "odd"));
    }

    fn spent(attempts: u32) -> RetryInfo {
        let reason = StopReason::BudgetExhausted;
        RetryInfo::new(attempts, Duration::ZERO, reason, None, History::new())
    }

    #[test]
    fn a_message_of_ours_says_why_there_was_no_further_attempt() {
        let because = format!("gave up after 2 attempts: {}", StopReason::BudgetExhausted);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        for (cause, code, message) in [
            (BoxError::from("odd"), Code::Unknown, "odd"),
            (
                elapsed().into(),
                Code::DeadlineExceeded,
                "call not finished within 3s",
            ),
            (
                tonic::ConnectError(refused.into()).into(),
                Code::Unavailable,
                "connection refused",
            ),
        ] {
            let status = to_status(Retried::new(spent(2), cause));
            assert_eq!(status.code(), code);
            assert_eq!(status.message(), format!("{message}; {because}"));
            let retried = find_cause::<Retried>(&status).unwrap();
            assert_eq!(retried.info().stop_reason(), StopReason::BudgetExhausted);
        }
        // A rejection explains itself.
        let rejection = Rejected::new(RejectReason::QueueFull);
        let status = to_status(Retried::new(spent(0), rejection.into()));
        assert_eq!(status.message(), rejection.to_string());
    }

    #[test]
    fn a_servers_status_keeps_code_message_details_and_metadata_after_a_retry_gave_up() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/grpc"),
            (GRPC_STATUS, "14"),
            ("grpc-message", "try%20later"),
            (GRPC_DETAILS, "AQID"),
            ("x-trace", "7"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut response = Response::new(());
        *response.headers_mut() = headers.clone();
        assert!(given_up(&response).is_none(), "no retry has given up");
        response.extensions_mut().insert(spent(3));
        response.extensions_mut().insert("a letter");
        let status = given_up(&response).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "try later");
        assert_eq!(status.details(), [1, 2, 3]);
        assert_eq!(status.metadata().get("x-trace").unwrap(), "7");
        assert_eq!(find_cause::<Retried>(&status).unwrap().info(), &spent(3));
        let answer = find_cause::<FailedAnswer>(&status).unwrap();
        assert_eq!(answer.to_string(), "the server answered with Unavailable");
        assert_eq!(answer.extensions().get(), Some(&"a letter"));
        // Again, as by a second layer of this kind.
        let again = to_status(status);
        assert_eq!(
            (again.code(), again.message()),
            (Code::Unavailable, "try later")
        );
        assert!(find_cause::<Retried>(&again).is_some());

        // Details at which tonic would panic.
        headers.insert(GRPC_DETAILS, "!".parse().unwrap());
        *response.headers_mut() = headers;
        let status = given_up(&response).unwrap();
        assert_eq!((status.message(), status.details()), ("try later", &[][..]));
    }

    #[test]
    fn an_answer_without_grpc_is_a_status_by_its_http_code_after_a_retry_gave_up() {
        let status = |http: u16, content_type: &str| {
            let response = Response::builder().status(http);
            let response = response
                .header("content-type", content_type)
                .extension(spent(1));
            given_up(&response.body(()).unwrap())
        };
        for (http, code) in [
            (503, Code::Unavailable),
            (429, Code::Unavailable),
            (403, Code::PermissionDenied),
            (500, Code::Unknown),
        ] {
            let status = status(http, "text/html").unwrap();
            assert_eq!(status.code(), code);
            assert!(status.message().ends_with(&http.to_string()));
        }
        // The status may be in trailers.
        assert!(status(503, "application/grpc").is_none());
        assert!(status(200, "application/grpc").is_none());
    }
}
