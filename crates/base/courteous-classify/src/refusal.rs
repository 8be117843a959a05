use std::time::Duration;

use courteous_core::{Gate, Refusal, ResponseHead};
use courteous_hints::Hints;
use http::{HeaderMap, StatusCode};

/// Reads what a response with this `status` and these `headers` refuses. `None` if it is no refusal.
///
/// | response | refusal |
/// |---|---|
/// | 429 (RFC 6585, section 4) | always |
/// | any other 4xx or 5xx with `Retry-After` or one of its kin, such as `retry-after-ms` | for that time |
/// | 403 or 418 with a quota that is used up, and its reset | until the reset |
/// | all else | none |
///
/// GitHub refuses by 403, others by 418. A quota's field alone makes no refusal of any other status:
/// servers send these fields in normal operation, too.
#[must_use]
pub fn refusal_of(status: StatusCode, headers: &HeaderMap) -> Option<Refusal> {
    if !is_failure(status) {
        return None;
    }
    let hints = Hints::of(headers);
    let pause = match status.as_u16() {
        429 => return Some(Refusal::new(hints.refusal_wait())),
        403 | 418 => hints.wait(),
        _ => hints.retry_after(),
    };
    pause.map(|pause| Refusal::new(Some(pause)))
}

/// Whether a failure is a refusal, for a caller that does not ask for how long. A 429 is one whatever
/// its fields say, and a response with a gate is one, so no field of these is read.
pub(crate) fn is_refusal(head: &ResponseHead<'_>) -> bool {
    head.status() == StatusCode::TOO_MANY_REQUESTS
        || head.extensions().get::<Gate>().is_some()
        || refusal_in(head).is_some()
}

/// How long to wait at least before another attempt after the response with this `head`, as its
/// fields say.
///
/// The pause of a [`Refusal`], and for any other response what [`Hints::wait`] says. So the reset of
/// a quota whose rest is unknown counts for a 429 only. It has no upper bound.
#[must_use]
pub fn wait_after(head: &ResponseHead<'_>) -> Option<Duration> {
    let hints = Hints::of(head.headers());
    if !is_failure(head.status()) {
        return hints.wait();
    }
    match (refusal_in(head), head.status().as_u16()) {
        (Some(refusal), _) => refusal.pause(),
        // All that it says was read: else it would be a refusal.
        (None, 403 | 418) => None,
        (None, _) => hints.wait_besides_retry_after(),
    }
}

/// The refusal in a response, whose fields are read unless they were read before.
fn refusal_in(head: &ResponseHead<'_>) -> Option<Refusal> {
    head.refusal(|| refusal_of(head.status(), head.headers()))
}

fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

#[cfg(test)]
mod tests {
    use courteous_core::{Outcome, RefusalCell};
    use http::{HeaderName, HeaderValue, Response};
    use tokio::time::Instant;

    use super::*;

    const RETRY_AFTER: (&str, &str) = ("retry-after", "5");
    const LEFT: [(&str, &str); 2] = [
        ("x-ratelimit-remaining", "4990"),
        ("x-ratelimit-reset", "50"),
    ];
    const USED_UP: [(&str, &str); 2] =
        [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "50")];

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter().map(|&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        fields.collect()
    }

    fn response(status: StatusCode, headers: HeaderMap) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn ask<T>(outcome: Outcome<'_>, question: impl FnOnce(&ResponseHead<'_>) -> T) -> T {
        question(&outcome.result().unwrap())
    }

    fn refusal(status: u16, fields: &[(&'static str, &'static str)]) -> Option<Option<u64>> {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = headers(fields);
        let refusal = refusal_of(status, &headers);
        let response = response(status, headers);
        let is_one = ask(Outcome::head(&response), is_refusal);
        assert_eq!(is_one, refusal.is_some());
        let refusal = refusal?;
        Some(refusal.pause().map(|pause| pause.as_secs()))
    }

    #[test]
    fn a_failure_that_names_its_pause_is_a_refusal_whatever_its_status() {
        for status in 400..600 {
            assert_eq!(refusal(status, &[RETRY_AFTER]), Some(Some(5)), "{status}");
            let kin = refusal(status, &[("retry-after-ms", "7000")]);
            assert_eq!(kin, Some(Some(7)), "{status}");
        }
        for status in [200, 202, 301, 304] {
            assert_eq!(refusal(status, &[RETRY_AFTER]), None, "{status}");
        }
    }

    #[test]
    fn without_a_pause_only_a_429_is_a_refusal() {
        for status in 400..600 {
            let expected = (status == 429).then_some(None);
            assert_eq!(refusal(status, &[]), expected, "{status}");
        }
    }

    #[test]
    fn a_quota_that_is_used_up_makes_a_refusal_of_403_and_418() {
        for status in [403, 418, 429] {
            assert_eq!(refusal(status, &USED_UP), Some(Some(50)), "{status}");
        }
        for status in [400, 401, 404, 409, 500, 502, 503, 529] {
            assert_eq!(refusal(status, &USED_UP), None, "{status}");
        }
    }

    #[test]
    fn a_quota_with_something_left_and_one_whose_rest_is_unknown_make_none() {
        for status in [400, 403, 404, 418, 500, 503] {
            assert_eq!(refusal(status, &LEFT), None, "{status}");
            let unknown = [("anthropic-ratelimit-unified-reset", "3200")];
            assert_eq!(refusal(status, &unknown), None, "{status}");
        }
        let secondary = [RETRY_AFTER, LEFT[0], LEFT[1]];
        assert_eq!(refusal(403, &secondary), Some(Some(5)));
    }

    #[test]
    fn a_reset_whose_rest_is_unknown_is_waited_for_after_a_429_only() {
        let wait = |status| {
            let unknown = headers(&[("anthropic-ratelimit-unified-reset", "3200")]);
            ask(Outcome::head(&response(status, unknown)), wait_after)
        };
        let long = Some(Duration::from_secs(3200));
        assert_eq!(wait(StatusCode::TOO_MANY_REQUESTS), long);
        assert_eq!(wait(StatusCode::SERVICE_UNAVAILABLE), None);
    }

    /// The waits are those of a reading that knows of no other.
    #[test]
    fn a_wait_is_the_same_whether_or_not_a_refusal_was_looked_for_before() {
        let fields = [
            RETRY_AFTER,
            ("retry-after-ms", "7000"),
            USED_UP[0],
            USED_UP[1],
            (
                "grpc-status-details-bin",
                "CAgSABopCid0eXBlLmdvb2dsZWFwaXMuY29tL2dvb2dsZS5ycGMuUmV0cnlJbmZv",
            ),
        ];
        for status in [200, 403, 404, 418, 429, 500, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            for bits in 0..1 << fields.len() {
                let some = (0..fields.len()).filter(|place| bits >> place & 1 == 1);
                let some: Vec<_> = some.map(|place| fields[place]).collect();
                let response = response(status, headers(&some));
                let hints = Hints::of(response.headers());
                let plain = match status {
                    StatusCode::TOO_MANY_REQUESTS => hints.refusal_wait(),
                    _ => hints.wait(),
                };
                let cell = RefusalCell::new();
                let outcome = Outcome::head(&response).with_refusal(&cell);
                if is_failure(status) {
                    ask(outcome, is_refusal);
                }
                assert_eq!(ask(outcome, wait_after), plain, "{status} {some:?}");
            }
        }
    }

    #[test]
    fn what_was_read_by_one_question_is_not_read_by_the_next() {
        let busy = response(StatusCode::SERVICE_UNAVAILABLE, headers(&[RETRY_AFTER]));
        let bare = response(StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new());
        let cell = RefusalCell::new();
        assert!(ask(Outcome::head(&busy).with_refusal(&cell), is_refusal));
        // The fields of this one say nothing, so the answer is from the first reading.
        let again = Outcome::head(&bare).with_refusal(&cell);
        assert!(ask(again, is_refusal));
        assert_eq!(ask(again, wait_after), Some(Duration::from_secs(5)));
        assert!(!ask(Outcome::head(&bare), is_refusal));
    }

    #[test]
    fn what_a_layer_further_in_has_read_is_not_read_again() {
        let mut bare = response(StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new());
        let pause = Some(Duration::from_secs(7));
        bare.extensions_mut().insert(Refusal::new(pause));
        assert!(ask(Outcome::head(&bare), is_refusal));
        assert_eq!(ask(Outcome::head(&bare), wait_after), pause);
        let mut gated = response(StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new());
        gated.extensions_mut().insert(Gate::new(Instant::now()));
        assert!(ask(Outcome::head(&gated), is_refusal));
    }
}
