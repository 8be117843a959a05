use http::{
    HeaderMap, HeaderName, Method,
    header::{IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE},
};

/// Whether sending a request twice has the effect of sending it once, by its method: GET, HEAD, OPTIONS, TRACE, PUT and
/// DELETE (RFC 9110, section 9.2.2). Every other method counts as not idempotent.
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whether a request writes under a precondition that its own effect makes false.
///
/// Sent again after it took effect, such a request fails: 412 then means that it succeeded before. So it is idempotent in its
/// effect, and not in its answer. The preconditions are `If-Match`, `If-None-Match` and `If-Unmodified-Since` (RFC 9110,
/// section 13.1), WebDAV's `If` (RFC 4918, section 10.4) and CalDAV's `If-Schedule-Tag-Match` (RFC 6638, section 8.3). Those
/// of a copy's source are none, as a copy does not change its source.
#[must_use]
pub fn is_conditional_write(method: &Method, headers: &HeaderMap) -> bool {
    let conditions = [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_UNMODIFIED_SINCE,
        HeaderName::from_static("if"),
        HeaderName::from_static("if-schedule-tag-match"),
    ];
    !method.is_safe() && headers.keys().any(|name| conditions.contains(name))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn idempotent_methods_are_those_of_the_standard() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(is_idempotent(&method.parse().unwrap()), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "MKCOL", "get"] {
            assert!(!is_idempotent(&method.parse().unwrap()), "{method}");
        }
    }

    #[test]
    fn a_precondition_counts_on_methods_that_write() {
        for (name, expected) in [
            ("if-match", true),
            ("if-none-match", true),
            ("if-unmodified-since", true),
            ("if", true),
            ("if-schedule-tag-match", true),
            ("if-modified-since", false),
            ("if-range", false),
            ("x-amz-copy-source-if-match", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("*"));
            for method in [Method::PUT, Method::DELETE, Method::POST, Method::PATCH] {
                let is = is_conditional_write(&method, &headers);
                assert_eq!(is, expected, "{method} {name}");
            }
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert!(!is_conditional_write(&method, &headers), "{method} {name}");
            }
        }
        assert!(!is_conditional_write(&Method::PUT, &HeaderMap::new()));
    }
}
