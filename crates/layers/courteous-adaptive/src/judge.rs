//! What an attempt says of its server's load.

use courteous_classify::HttpClassifier;
use courteous_core::{
    Classify, Elapsed, Fault, Outcome as Attempt, Rejected, Scope, Verdict, find_cause,
};
use http::{Response, StatusCode};

use crate::controller::Outcome;

/// Reads the head of a response. A plain success costs one look at the status.
pub(crate) fn of_response<B>(response: &Response<B>) -> Outcome {
    let status = response.status();
    // A gRPC failure without messages is in the head of a response that is 200.
    if status.is_success() && !response.headers().contains_key("grpc-status") {
        return Outcome::Answered { is_success: true };
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return Outcome::Overloaded;
    }
    let verdict = HttpClassifier::new().classify(Attempt::head(response));
    of_verdict(verdict, status.is_server_error())
}

fn of_verdict(verdict: Verdict, is_server_error: bool) -> Outcome {
    match verdict {
        Verdict::Transient {
            fault: Fault::Throttled,
            ..
        } => Outcome::Unknown,
        Verdict::Transient {
            fault: Fault::Overload,
            ..
        } => Outcome::Overloaded,
        Verdict::Transient { .. } => Outcome::Answered { is_success: false },
        _ => Outcome::Answered {
            is_success: !is_server_error,
        },
    }
}

/// Reads an error. Our own rejections, connections that were not made and connections that broke say
/// nothing of the load.
pub(crate) fn of_error(error: &(dyn std::error::Error + 'static)) -> Outcome {
    let is_timeout = |elapsed: &Elapsed| elapsed.scope() != Scope::Idle;
    let is_rejected = find_cause::<Rejected>(error).is_some();
    let is_elapsed = find_cause::<Elapsed>(error).is_some_and(is_timeout)
        || find_cause::<tokio::time::error::Elapsed>(error).is_some();
    match is_elapsed && !is_rejected {
        true => Outcome::TimedOut,
        false => Outcome::Unknown,
    }
}
