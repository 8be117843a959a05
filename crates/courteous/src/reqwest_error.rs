use reqwest::Error;

/// What kind of error this is, in a few words and without its URL.
pub(crate) fn kind(error: &Error) -> &'static str {
    if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "cannot connect"
    } else if error.is_builder() {
        "cannot build the request"
    } else if error.is_redirect() {
        "cannot follow the redirect"
    } else if error.is_status() {
        "error status"
    } else if error.is_decode() {
        "cannot decode the body"
    } else if error.is_body() {
        "the body failed"
    } else {
        "cannot send the request"
    }
}
