use std::{
    error::Error,
    io::{self, ErrorKind},
};

use courteous_core::{
    Classified, Classify, Effect, Elapsed, Fault, Outcome, Rejected, ResponseHead, Scope, Verdict,
    find_cause,
};
use courteous_hints::{Hints, Pushback};
use http::StatusCode;

#[cfg(feature = "hyper-util")]
use crate::connect::of_connect_error;
use crate::{is_grpc, refusal::is_refusal};

/// The classifier for HTTP and gRPC that retries use by default.
///
/// | outcome | verdict |
/// |---|---|
/// | 1xx, 2xx, 3xx, 4xx but those below | answered |
/// | 408 | may pass, maybe processed (RFC 9110, section 15.5.9) |
/// | a [`Refusal`](courteous_core::Refusal): 429, any other 4xx or 5xx with `Retry-After` or one of its kin, 403 or 418 of a used-up quota | may pass, refused |
/// | 425 | may pass, refused: it may not have come as early data again (RFC 8470, section 5.2). A retry sends it once more |
/// | 421 | answered: another connection may do, and a retry does not choose connections (RFC 9110, section 15.5.20) |
/// | 500, 502, 503, 504, 529 and every 5xx that is not known (RFC 9110, section 15) | may pass, maybe processed |
/// | 501, 505, 506, 508, 510, 511 | permanent |
/// | gRPC UNAVAILABLE, in the head of a response that has nothing else | may pass, maybe processed; refused if it has a pushback or a `google.rpc.RetryInfo` |
/// | gRPC RESOURCE_EXHAUSTED, likewise | may pass, refused, if it has one of these; else answered |
/// | gRPC DEADLINE_EXCEEDED, likewise, or tonic's "Timeout expired", 504 or 408: if the server was told the deadline of the attempt, and the call has more time | as an attempt timeout: may pass, maybe processed |
/// | gRPC, any other status | answered |
/// | `x-should-retry`, `stripe-should-retry` or `transient-error: true` on a failure that would not be retried | may pass, maybe processed |
/// | an error that brings its verdict along ([`Classified`]) | that verdict |
/// | connection not made | never sent; [unsendable](Verdict::Unsendable) where [that cannot change](crate::of_connect_error) |
/// | a request that hyper-util's client cannot send: its method, its version, a target that is not absolute | unsendable |
/// | a certificate that the server refuses after the handshake | permanent |
/// | HTTP/2 REFUSED_STREAM, GOAWAY below the stream's number (RFC 9113, section 8.7) | never sent |
/// | an attempt timeout, a body that was silent for too long, and every other error | may pass, maybe processed |
/// | a total timeout, a local refusal | permanent |
///
/// Whether a request that is *maybe processed* or *refused* may be sent again is decided on the request, by the retry.
///
/// An early end of the connection is *maybe processed* even if the connection came from a pool, where the server may have
/// closed it before the request arrived: the two cannot be told apart.
///
/// What hyper calls the user's error is *maybe processed*, too: it says so of a lost connection if the runtime that drove it
/// has ended. Whether it was the request's body that failed is known to a retry, which gave it out.
///
/// The errors of hyper and hyper-util are read with the feature `hyper-util`, those of h2 0.4 with the feature `h2`, and those
/// of rustls with the feature `rustls`. Without it, a failed TLS handshake counts as passing.
///
/// # Example
///
/// ```
/// use courteous_classify::HttpClassifier;
/// use courteous_core::{Classify, Effect, Fault, Outcome, Verdict};
/// use http::Response;
/// use http_body_util::Empty;
///
/// let response = Response::builder().status(502).body(Empty::<&[u8]>::new())?;
/// assert_eq!(
///     HttpClassifier::new().classify(Outcome::response(&response)),
///     Verdict::transient(Effect::MaybeProcessed, Fault::Server),
/// );
/// # Ok::<_, http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpClassifier {
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Dialect {
    #[default]
    Standard,
    /// Keeps the outcome of a keyed request, a failure too, and gives it again.
    Replays,
}

impl HttpClassifier {
    /// The classifier for servers that follow the RFCs.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            dialect: Dialect::Standard,
        }
    }

    /// The classifier for APIs that keep the outcome of a keyed request and give it again, as Stripe's does.
    ///
    /// Differs from [`new`](Self::new) in two points. 409 means that an earlier copy of the request is still at work: it may
    /// pass, for requests with a key. And a 500 is permanent, as it would come again for the same key; what the server says
    /// in `stripe-should-retry` still wins.
    #[must_use]
    pub const fn stripe() -> Self {
        Self {
            dialect: Dialect::Replays,
        }
    }

    fn response(self, head: &ResponseHead<'_>) -> Verdict {
        let status = head.status();
        if status.is_success() {
            return if head.is_end_stream() && is_grpc(head.headers()) {
                grpc(head)
            } else {
                Verdict::Answered
            };
        }
        if !status.is_client_error() && !status.is_server_error() {
            return Verdict::Answered;
        }
        let verdict = self.failure(status, head);
        let asked = || Hints::of(head.headers()).should_retry() == Some(true);
        match verdict {
            Verdict::Answered | Verdict::Permanent if asked() => maybe_processed(Fault::Server),
            verdict => verdict,
        }
    }

    fn failure(self, status: StatusCode, head: &ResponseHead<'_>) -> Verdict {
        let replays = self.dialect == Dialect::Replays;
        match status.as_u16() {
            408 | 504 if is_our_deadline(head) => maybe_processed(Fault::NoResponse),
            409 if replays => Verdict::transient(Effect::InProgress, Fault::Server),
            500 if replays => Verdict::Permanent,
            code if is_refusal(head) => {
                let fault = match code {
                    400..=499 => Fault::Throttled,
                    503 => Fault::Overload,
                    _ => Fault::Server,
                };
                Verdict::transient(Effect::Refused, fault)
            }
            408 => maybe_processed(Fault::Server),
            // A server that does not act on what may be a replay of TLS's early data.
            425 => Verdict::transient(Effect::Refused, Fault::Server),
            400..=499 => Verdict::Answered,
            501 | 505 | 506 | 508 | 510 | 511 => Verdict::Permanent,
            503 => maybe_processed(Fault::Overload),
            529 => maybe_processed(Fault::Throttled),
            _ => maybe_processed(Fault::Server),
        }
    }
}

impl Classify for HttpClassifier {
    fn classify(&self, outcome: Outcome<'_>) -> Verdict {
        match outcome.result() {
            Ok(head) => self.response(&head),
            Err(cause) => error(cause),
        }
    }
}

const fn maybe_processed(fault: Fault) -> Verdict {
    Verdict::transient(Effect::MaybeProcessed, fault)
}

const fn never_sent(fault: Fault) -> Verdict {
    Verdict::transient(Effect::NeverSent, fault)
}

/// The status of a response that consists of its head: the only place where a status among the headers counts.
fn grpc(head: &ResponseHead<'_>) -> Verdict {
    let Some(status) = head.headers().get("grpc-status") else {
        return Verdict::Answered;
    };
    // A pushback that forbids another attempt is for the retry to obey, whatever the details say.
    let invited = || {
        let hints = Hints::of(head.headers());
        match hints.grpc_pushback() {
            Some(pushback) => matches!(pushback, Pushback::After(_)),
            None => hints.retry_info().is_some(),
        }
    };
    match status.as_bytes() {
        b"14" if invited() => Verdict::transient(Effect::Refused, Fault::Overload),
        b"14" => maybe_processed(Fault::Overload),
        b"8" if invited() => Verdict::transient(Effect::Refused, Fault::Throttled),
        b"1" | b"4" if is_our_deadline(head) => maybe_processed(Fault::NoResponse),
        _ => Verdict::Answered,
    }
}

/// Whether the server says that the deadline of this attempt has passed, which is ours and not the call's.
fn is_our_deadline(head: &ResponseHead<'_>) -> bool {
    let elapsed = head.extensions().get::<Elapsed>();
    elapsed.is_some_and(|elapsed| elapsed.scope() == Scope::Attempt)
}

fn error(error: &(dyn Error + 'static)) -> Verdict {
    if let Some(classified) = find_cause::<Classified>(error) {
        return classified.verdict();
    }
    if let Some(elapsed) = find_cause::<Elapsed>(error) {
        return match elapsed.scope() {
            Scope::Attempt | Scope::Idle => maybe_processed(Fault::NoResponse),
            _ => Verdict::Permanent,
        };
    }
    if find_cause::<Rejected>(error).is_some() {
        return Verdict::Permanent;
    }
    #[cfg(feature = "h2")]
    if find_cause::<h2::Error>(error).is_some_and(is_unprocessed) {
        return never_sent(Fault::Server);
    }
    #[cfg(feature = "hyper-util")]
    if let Some(verdict) = client(error) {
        return verdict;
    }
    // A connection that was made, and whose other end then refused our certificate.
    #[cfg(feature = "rustls")]
    if courteous_core::causes(error).any(crate::tls::cannot_change) {
        return Verdict::Permanent;
    }
    // hyper says so of requests that it hands back from its queue, unwritten.
    #[cfg(feature = "hyper-util")]
    if find_cause::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled) {
        return never_sent(Fault::NoResponse);
    }
    // No connection that was made is refused later.
    let kind = find_cause::<io::Error>(error).map(io::Error::kind);
    if kind == Some(ErrorKind::ConnectionRefused) {
        return never_sent(Fault::NoResponse);
    }
    maybe_processed(Fault::NoResponse)
}

/// Whether the peer says in HTTP/2 that it did not process the request (RFC 9113, section 8.7).
///
/// h2 reports a remote GOAWAY only to streams that it does not cover. A server that refuses streams or is going away is
/// there: the failure is the server's, unlike a lack of response.
#[cfg(feature = "h2")]
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// What hyper-util's client says of a request that it has not sent.
#[cfg(feature = "hyper-util")]
fn client(error: &(dyn Error + 'static)) -> Option<Verdict> {
    use hyper_util::client::legacy;

    let client = find_cause::<legacy::Error>(error)?;
    if client.is_connect() {
        Some(of_connect_error(client))
    } else if client.source().is_none() {
        // The request itself was at fault: its method, its version, or a target that is not absolute.
        Some(Verdict::Unsendable)
    } else {
        None
    }
}
