use http::{
    HeaderMap, HeaderName, Method,
    header::{IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE},
};

/// Whether sending a request twice has the effect of sending it once, by its method: GET, HEAD, OPTIONS, TRACE, PUT and
/// DELETE (RFC 9110, section 9.2.2), and all others that IANA's registry of HTTP methods calls idempotent, such as PROPFIND,
/// REPORT, SEARCH, QUERY, MKCOL, COPY, MOVE and UNLOCK. A method that is not registered counts as not idempotent.
///
/// The effect is the same, the answer may be another: a repeated MKCOL finds its collection there, a repeated MOVE no longer
/// finds its source, and a COPY or MOVE with `Overwrite: F` then fails at its own target (412; RFC 4918, section 9).
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::OPTIONS
        | Method::TRACE
        | Method::PUT
        | Method::DELETE => true,
        Method::POST | Method::PATCH | Method::CONNECT => false,
        _ => READS.contains(&method.as_str()) || WRITES.contains(&method.as_str()),
    }
}

/// The registered methods that only read, but for those of RFC 9110.
const READS: [&str; 4] = ["PROPFIND", "QUERY", "REPORT", "SEARCH"];

/// The registered methods that write and are idempotent, but for those of RFC 9110.
const WRITES: [&str; 25] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPPATCH",
    "REBIND",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// The preconditions of a write that its own effect makes false.
static CONDITIONS: [HeaderName; 5] = [
    IF_MATCH,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    HeaderName::from_static("if"),
    HeaderName::from_static("if-schedule-tag-match"),
];

/// Whether a request writes under a precondition that its own effect makes false.
///
/// Sent again after it took effect, such a request fails: 412 then means that it succeeded before. So it is idempotent in its
/// effect, and not in its answer. The preconditions are `If-Match`, `If-None-Match` and `If-Unmodified-Since` (RFC 9110,
/// section 13.1), WebDAV's `If` (RFC 4918, section 10.4) and CalDAV's `If-Schedule-Tag-Match` (RFC 6638, section 8.3). Those
/// of a copy's source are none, as a copy does not change its source.
#[must_use]
pub fn is_conditional_write(method: &Method, headers: &HeaderMap) -> bool {
    // Few names begin like these, which costs less to find out.
    let is_condition =
        |name: &HeaderName| name.as_str().starts_with("if") && CONDITIONS.contains(name);
    let reads = || method.is_safe() || READS.contains(&method.as_str());
    headers.keys().any(is_condition) && !reads()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn idempotent_methods_are_those_of_the_registry() {
        let webdav = [
            "PROPFIND", "REPORT", "SEARCH", "QUERY", "MKCOL", "COPY", "MOVE", "UNLOCK", "UPDATE",
        ];
        let standard = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
        for method in standard.into_iter().chain(webdav) {
            assert!(is_idempotent(&method.parse().unwrap()), "{method}");
        }
        for method in [
            "POST", "PATCH", "CONNECT", "LOCK", "BREW", "get", "propfind",
        ] {
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
        // WebDAV's reads and writes.
        let mut headers = HeaderMap::new();
        headers.insert("if", HeaderValue::from_static("(<urn:uuid:1>)"));
        for (method, expected) in [("PROPFIND", false), ("REPORT", false), ("MOVE", true)] {
            let method = method.parse().unwrap();
            let is = is_conditional_write(&method, &headers);
            assert_eq!(is, expected, "{method}");
        }
    }
}
