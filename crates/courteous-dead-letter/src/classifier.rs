use std::{
    error::Error,
    io::{self, ErrorKind},
};

use courteous_core::{
    Classified, Classify, Effect, Elapsed, Fault, Outcome, Rejected, ResponseHead, Verdict,
    find_cause,
};
use courteous_hints::Hints;

/// Judges calls around which there is no retry that has judged them already.
///
/// May pass: 408, 429, 5xx but 501, 505, 506, 508, 510 and 511; timeouts; refusals by a limit; every error that does not bring
/// another verdict along. Unsendable: what costs more than a limit's burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpStatus;

impl Classify for HttpStatus {
    fn classify(&self, outcome: Outcome<'_>) -> Verdict {
        match outcome {
            Outcome::Response(head) => response(&head),
            Outcome::Error(cause) => error(cause),
            // A kind of outcome that is not known here yet.
            _ => Verdict::Permanent,
        }
    }
}

fn response(head: &ResponseHead<'_>) -> Verdict {
    match head.status().as_u16() {
        408 => Verdict::transient(Effect::MaybeProcessed, Fault::Server),
        429 => Verdict::transient(Effect::Refused, Fault::Throttled),
        501 | 505 | 506 | 508 | 510 | 511 => Verdict::Permanent,
        503 if Hints::of(head.headers()).retry_after().is_some() => {
            Verdict::transient(Effect::Refused, Fault::Server)
        }
        500..=599 => Verdict::transient(Effect::MaybeProcessed, Fault::Server),
        _ => Verdict::Answered,
    }
}

fn error(error: &(dyn Error + 'static)) -> Verdict {
    if let Some(classified) = find_cause::<Classified>(error) {
        return classified.verdict();
    }
    if let Some(rejected) = find_cause::<Rejected>(error) {
        return match rejected.reason().is_final() {
            true => Verdict::Unsendable,
            false => Verdict::transient(Effect::NeverSent, Fault::Throttled),
        };
    }
    // No connection that was made is refused later; and a timeout can strike at any time.
    let kind = find_cause::<io::Error>(error).map(io::Error::kind);
    let effect = match kind {
        Some(ErrorKind::ConnectionRefused) if find_cause::<Elapsed>(error).is_none() => {
            Effect::NeverSent
        }
        _ => Effect::MaybeProcessed,
    };
    Verdict::transient(effect, Fault::NoResponse)
}

#[cfg(test)]
mod tests {
    use courteous_core::{BoxError, RejectReason};
    use http::Response;
    use http_body_util::Empty;

    use super::*;

    const MAYBE: Effect = Effect::MaybeProcessed;

    fn of_status(status: u16) -> Verdict {
        let response = Response::builder().status(status);
        let response = response.body(Empty::<&[u8]>::new()).unwrap();
        HttpStatus.classify(Outcome::response(&response))
    }

    fn of_error(error: impl Into<BoxError>) -> Verdict {
        HttpStatus.classify(Outcome::error(&*error.into()))
    }

    #[test]
    fn statuses_that_may_pass_are_408_429_and_the_5xx_that_do() {
        for status in [408, 500, 502, 503, 504, 507, 529] {
            let verdict = Verdict::transient(MAYBE, Fault::Server);
            assert_eq!(of_status(status), verdict, "{status}");
        }
        assert_eq!(
            of_status(429),
            Verdict::transient(Effect::Refused, Fault::Throttled)
        );
        for status in [501, 505, 506, 508, 510, 511] {
            assert_eq!(of_status(status), Verdict::Permanent, "{status}");
        }
        for status in [200, 204, 301, 400, 401, 404, 409, 422] {
            assert_eq!(of_status(status), Verdict::Answered, "{status}");
        }
    }

    #[test]
    fn a_503_that_says_when_to_come_back_is_a_refusal() {
        let response = Response::builder().status(503).header("retry-after", "5");
        let response = response.body(Empty::<&[u8]>::new()).unwrap();
        let verdict = HttpStatus.classify(Outcome::response(&response));
        assert_eq!(verdict, Verdict::transient(Effect::Refused, Fault::Server));
    }

    #[test]
    fn a_503_with_a_quota_is_no_refusal() {
        let response = Response::builder()
            .status(503)
            .header("x-ratelimit-reset", "5");
        let response = response.body(Empty::<&[u8]>::new()).unwrap();
        let verdict = HttpStatus.classify(Outcome::response(&response));
        let expected = Verdict::transient(Effect::MaybeProcessed, Fault::Server);
        assert_eq!(verdict, expected);
    }

    #[test]
    fn errors_are_judged_by_what_is_known_of_them() {
        let never = |fault| Verdict::transient(Effect::NeverSent, fault);
        assert_eq!(
            of_error(Classified::new(Verdict::Permanent, "no TLS")),
            Verdict::Permanent
        );
        assert_eq!(
            of_error(Rejected::new(RejectReason::QueueFull)),
            never(Fault::Throttled)
        );
        assert_eq!(
            of_error(Rejected::new(RejectReason::CostAboveBurst)),
            Verdict::Unsendable
        );
        assert_eq!(
            of_error(io::Error::from(ErrorKind::ConnectionRefused)),
            never(Fault::NoResponse)
        );
        assert_eq!(
            of_error("anything"),
            Verdict::transient(MAYBE, Fault::NoResponse)
        );
    }
}
