use courteous_core::{Effect, Fault, Verdict, find_cause};
use reqwest::Error;

/// What `error`, which came instead of a response, means for another attempt.
pub(crate) fn verdict(error: &Error) -> Verdict {
    if error.is_builder() {
        return Verdict::Unsendable;
    }
    if error.is_redirect() || error.is_status() {
        return Verdict::Permanent;
    }
    if error.is_connect() {
        // A connect timeout of reqwest's is no `io::Error`.
        return if error.is_timeout() {
            Verdict::transient(Effect::NeverSent, Fault::NoResponse)
        } else {
            Verdict::of_connect_error(error)
        };
    }
    #[cfg(feature = "h2")]
    if let Some(verdict) = h2(error) {
        return verdict;
    }
    match find_cause::<hyper::Error>(error) {
        // hyper says so of requests that it hands back from its queue, unwritten.
        Some(cause) if cause.is_canceled() => {
            Verdict::transient(Effect::NeverSent, Fault::NoResponse)
        }
        // The request itself was at fault, or its body failed.
        Some(cause) if cause.is_user() => Verdict::Permanent,
        _ => Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse),
    }
}

/// What the peer says in HTTP/2 (RFC 9113, section 8.7): h2 reports a remote GOAWAY only to streams that it does not cover.
#[cfg(feature = "h2")]
fn h2(error: &Error) -> Option<Verdict> {
    let cause = find_cause::<h2::Error>(error)?;
    let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
    (cause.is_remote() && (refused || cause.is_go_away()))
        .then_some(Verdict::transient(Effect::NeverSent, Fault::Server))
}
