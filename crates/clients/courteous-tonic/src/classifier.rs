use std::error::Error;

use courteous_classify::{HttpClassifier, of_connect_error};
use courteous_core::{Classified, Classify, Effect, Fault, Outcome, Verdict, find_cause};
use tonic::{Code, ConnectError, Status};

/// The verdict on an error of which nothing is known.
const UNKNOWN: Verdict = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);

/// The classifier for tonic's channels.
///
/// It judges as [`HttpClassifier`] does, which reads gRPC statuses in the head of a response and
/// the errors of HTTP/2. It also knows two of tonic's own errors:
///
/// | error | verdict |
/// |---|---|
/// | [`ConnectError`] | never sent; [unsendable](Verdict::Unsendable) if [that cannot change](of_connect_error), for example because of a certificate |
/// | [`TimeoutExpired`](tonic::TimeoutExpired): the channel's own timeout | may pass, maybe processed, as an attempt timeout |
/// | [`Status`] UNAVAILABLE that client code made, such as one of the caller's services | may pass, maybe processed |
/// | any other [`Status`] that client code made | permanent |
///
/// Only UNAVAILABLE is retryable by default: gRFC A6 leaves the list of codes to configuration, and
/// `google.rpc.Code` advises to retry the call only for this code.
///
/// A status that comes after messages, in the trailers, is not seen: by then the response belongs
/// to the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TonicClassifier {
    http: HttpClassifier,
}

impl TonicClassifier {
    /// The classifier, with [`HttpClassifier::new`] for everything that is not tonic's.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            http: HttpClassifier::new(),
        }
    }
}

impl Classify for TonicClassifier {
    fn classify(&self, outcome: Outcome<'_>) -> Verdict {
        if let Err(error) = outcome.result()
            && let Some(connect) = find_cause::<ConnectError>(error)
            && find_cause::<Classified>(error).is_none()
        {
            return of_connect_error(connect);
        }
        let verdict = self.http.classify(outcome);
        match outcome.result() {
            Err(error) if verdict == UNKNOWN => refine(error),
            _ => verdict,
        }
    }
}

/// The verdict on an error about which only tonic's types can tell more.
fn refine(error: &(dyn Error + 'static)) -> Verdict {
    match find_cause::<Status>(error) {
        // A status with a source is a translation; the source was already judged.
        Some(status) if status.source().is_none() => match status.code() {
            Code::Unavailable => Verdict::transient(Effect::MaybeProcessed, Fault::Overload),
            _ => Verdict::Permanent,
        },
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, ErrorKind},
        sync::Arc,
        time::Duration,
    };

    use courteous_core::{Elapsed, Scope};

    use super::*;

    fn verdict(error: impl Error + 'static) -> Verdict {
        TonicClassifier::new().classify(Outcome::error(&error))
    }

    #[test]
    fn a_connection_that_was_not_made_is_never_sent_unless_that_cannot_change() {
        let of = |kind| verdict(ConnectError(io::Error::from(kind).into()));
        let never_sent = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
        assert_eq!(of(ErrorKind::ConnectionRefused), never_sent);
        assert_eq!(of(ErrorKind::TimedOut), never_sent);
        assert_eq!(of(ErrorKind::UnexpectedEof), never_sent);
        assert_eq!(verdict(ConnectError("balancer away".into())), never_sent);
        let no_tls = "Connecting to HTTPS without TLS enabled";
        assert_eq!(verdict(ConnectError(no_tls.into())), Verdict::Unsendable);
    }

    #[test]
    fn of_statuses_only_unavailable_may_pass() {
        for code in 0..=16 {
            let verdict = verdict(Status::new(Code::from_i32(code), ""));
            if code == 14 {
                let passing = Verdict::transient(Effect::MaybeProcessed, Fault::Overload);
                assert_eq!(verdict, passing);
            } else {
                assert_eq!(verdict, Verdict::Permanent, "{code}");
            }
        }
    }

    #[test]
    fn a_status_that_is_a_translation_is_judged_by_what_it_says() {
        let reset = io::Error::from(ErrorKind::ConnectionReset);
        let mut status = Status::unknown("transport error");
        status.set_source(Arc::new(reset));
        assert_eq!(verdict(status), UNKNOWN);
        let mut status = Status::deadline_exceeded("");
        status.set_source(Arc::new(Elapsed::new(Duration::ZERO, Scope::Total)));
        assert_eq!(verdict(status), Verdict::Permanent);
    }
}
