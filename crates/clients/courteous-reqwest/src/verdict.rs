use courteous_classify::HttpClassifier;
use courteous_core::{Classify, Outcome, Verdict, causes};
use reqwest::Error;

/// What `error`, which came instead of a response, means for another attempt: what only reqwest knows, and else the same as
/// for hyper-util's client, on which reqwest stands.
pub(crate) fn verdict(error: &Error) -> Verdict {
    if error.is_builder() {
        return Verdict::Unsendable;
    }
    if error.is_redirect() || error.is_status() || has_body_failed(error) {
        return Verdict::Permanent;
    }
    HttpClassifier::new().classify(Outcome::error(error))
}

/// Whether the source of the request's body has failed: then an error of reqwest's body is below that of its request.
fn has_body_failed(error: &Error) -> bool {
    let mut below = causes(error).skip(1);
    below.any(|cause| cause.downcast_ref().is_some_and(Error::is_body))
}

/// What an error of a further middleware means, which is none of reqwest's at its top.
#[cfg(feature = "reqwest-middleware")]
pub(crate) fn verdict_of_middleware(error: &(dyn std::error::Error + 'static)) -> Verdict {
    match courteous_core::find_cause(error) {
        Some(error) => verdict(error),
        None => HttpClassifier::new().classify(Outcome::error(error)),
    }
}
