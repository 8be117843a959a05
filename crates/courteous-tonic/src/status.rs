use std::sync::Arc;

use courteous_core::{BoxError, Elapsed, RejectReason, Rejected, find_cause};
use tonic::{Code, Status, TimeoutExpired};

/// The gRPC status that says what `error` says.
///
/// | in the error's chain | status |
/// |---|---|
/// | a [`Status`] | that one |
/// | [`Elapsed`] | DEADLINE_EXCEEDED |
/// | [`Rejected`], as the deadline leaves too little time | DEADLINE_EXCEEDED |
/// | [`Rejected`] | RESOURCE_EXHAUSTED |
/// | tonic's own [`TimeoutExpired`], Tokio's and Tower's `Elapsed` | DEADLINE_EXCEEDED |
/// | all else | as [`Status::from_error`] says |
///
/// Tonic itself calls an expired timeout CANCELLED. A channel heeds the `grpc-timeout` that an attempt timeout writes, and
/// may be the first to notice: the same deadline has one status.
///
/// The error stays in the status as its source, so `find_cause::<Rejected>(&status)` still tells when to come back.
/// Nothing of that is put into the metadata: a server that passes the status on does not tell its own clients what to do.
#[must_use]
pub fn to_status(error: impl Into<BoxError>) -> Status {
    let error = error.into();
    if find_cause::<Status>(&*error).is_some() {
        return Status::from_error(error);
    }
    let (code, message) = if let Some(elapsed) = find_cause::<Elapsed>(&*error) {
        (Code::DeadlineExceeded, elapsed.to_string())
    } else if let Some(rejected) = find_cause::<Rejected>(&*error) {
        let code = match rejected.reason() {
            RejectReason::Deadline => Code::DeadlineExceeded,
            _ => Code::ResourceExhausted,
        };
        (code, rejected.to_string())
    } else if let Some(expired) = find_cause::<TimeoutExpired>(&*error) {
        (Code::DeadlineExceeded, expired.to_string())
    } else if let Some(elapsed) = find_cause::<tower::timeout::error::Elapsed>(&*error) {
        (Code::DeadlineExceeded, elapsed.to_string())
    } else if let Some(elapsed) = find_cause::<tokio::time::error::Elapsed>(&*error) {
        (Code::DeadlineExceeded, elapsed.to_string())
    } else {
        return Status::from_error(error);
    };
    let mut status = Status::new(code, message);
    status.set_source(Arc::from(error));
    status
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use courteous_core::Scope;

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
    fn a_refusal_is_resource_exhausted_and_commands_nobody() {
        let rejected = Rejected::new(RejectReason::QueueFull);
        let status = to_status(rejected);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(find_cause::<Rejected>(&status), Some(&rejected));
        assert!(status.metadata().is_empty());
        let late = to_status(Rejected::new(RejectReason::Deadline));
        assert_eq!(late.code(), Code::DeadlineExceeded);
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
}
