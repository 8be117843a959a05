use http::{Response, StatusCode};

/// What tonic's servers say, with status CANCELLED, when the time that they were told has passed.
const TONIC_EXPIRED: [&str; 2] = ["Timeout%20expired", "Timeout expired"];

/// Whether `response` says that its server gave up, as the time for the request was over.
///
/// A gRPC status counts in the head of a response only: that of a response without messages.
pub(crate) fn is_too_late<B>(response: &Response<B>) -> bool {
    if let StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT = response.status() {
        return true;
    }
    let header = |name| response.headers().get(name);
    match header("grpc-status").map(|status| status.as_bytes()) {
        Some(b"4") => true,
        Some(b"1") => header("grpc-message")
            .is_some_and(|text| TONIC_EXPIRED.iter().any(|known| text == known)),
        _ => false,
    }
}
