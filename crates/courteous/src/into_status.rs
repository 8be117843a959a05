use std::sync::Arc;

use tonic::Status;

use crate::Error;

/// What a tonic server answers that makes a call of its own, and ends by `?` as the call has failed. With the feature `tonic`.
///
/// The code is that of [`to_status`](courteous_tonic::to_status): DEADLINE_EXCEEDED for a timeout, RESOURCE_EXHAUSTED for a rejection
/// by a limit of ours. A status among the causes keeps its code, message and metadata. The message of any other one is the
/// error's `Display`, which tells nothing of the other server, of addresses or of causes. The error is the status's source.
///
/// ```
/// use courteous::{
///     Error,
///     core::{Elapsed, Scope},
/// };
/// use std::time::Duration;
///
/// let error = Error::new(Elapsed::new(Duration::from_secs(5), Scope::Total));
/// let status = tonic::Status::from(error);
/// assert_eq!((status.code(), status.message()), (tonic::Code::DeadlineExceeded, "call timed out"));
/// ```
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let has_own = error.find::<Self>().is_some();
        let message = error.to_string();
        let status = courteous_tonic::to_status(error);
        if has_own {
            return status;
        }
        let mut plain = Self::new(status.code(), message);
        plain.set_source(Arc::new(status));
        plain
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use courteous_core::{RejectReason, Rejected};
    use tonic::Code;

    use super::*;

    #[test]
    fn a_message_tells_no_cause_and_the_source_does() {
        let secret = io::Error::other("https://10.0.0.7/?token=s3cret");
        let status = Status::from(Error::new(secret));
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unknown, "call failed")
        );
        let error = Error::new(status);
        assert!(error.find::<io::Error>().is_some());
        let full = Error::new(Rejected::new(RejectReason::QueueFull));
        assert_eq!(Status::from(full).code(), Code::ResourceExhausted);
    }

    #[test]
    fn a_status_among_the_causes_stays_what_it_is() {
        let aborted = Status::aborted("stale");
        let status = Status::from(Error::new(Error::new(aborted)));
        assert_eq!((status.code(), status.message()), (Code::Aborted, "stale"));
    }
}
