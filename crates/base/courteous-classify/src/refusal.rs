use std::time::Duration;

use courteous_hints::Hints;
use http::{HeaderMap, StatusCode};

/// A server's word that it has not done what it was asked, as it was asked too much or is busy.
///
/// | response | refusal |
/// |---|---|
/// | 429 (RFC 6585, section 4) | always |
/// | any other 4xx or 5xx with `Retry-After` or one of its kin, such as `retry-after-ms` | for that time |
/// | 403 or 418 with a quota that is used up, and its reset | until the reset |
/// | all else | none |
///
/// GitHub refuses by 403, others by 418. A quota's field alone makes no refusal of any other status: servers send these fields
/// in normal operation, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pause: Option<Duration>,
}

impl Refusal {
    /// What a response with this `status` and these `headers` refuses. `None` if it is no refusal.
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        let hints = Hints::of(headers);
        let pause = match status.as_u16() {
            429 => {
                return Some(Self {
                    pause: hints.refusal_wait(),
                });
            }
            403 | 418 => hints.wait(),
            _ => hints.retry_after(),
        };
        pause.map(|pause| Self { pause: Some(pause) })
    }

    /// Whether [`of`](Self::of) returns a refusal, for a caller that does not ask for how long. A 429
    /// is a refusal whatever its fields say, so none of them is read.
    pub(crate) fn is_one(status: StatusCode, headers: &HeaderMap) -> bool {
        status == StatusCode::TOO_MANY_REQUESTS || Self::of(status, headers).is_some()
    }

    /// For how long the server wants to be left alone, if it says so: only a 429 may leave that open. It has no upper bound.
    #[must_use]
    pub const fn pause(&self) -> Option<Duration> {
        self.pause
    }
}

/// How long to wait at least before another attempt after a failure with this `status`, as its `headers` say.
///
/// The pause of a [`Refusal`], and for any other failure what [`Hints::wait`] says. So the reset of a quota whose rest is
/// unknown counts for a 429 only. It has no upper bound.
#[must_use]
pub fn wait_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Hints::of(headers).refusal_wait(),
        _ => Hints::of(headers).wait(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

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

    fn refusal(status: u16, fields: &[(&'static str, &'static str)]) -> Option<Option<u64>> {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = headers(fields);
        let refusal = Refusal::of(status, &headers);
        assert_eq!(Refusal::is_one(status, &headers), refusal.is_some());
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
        let unknown = headers(&[("anthropic-ratelimit-unified-reset", "3200")]);
        let wait = |status| wait_after(status, &unknown);
        let long = Some(Duration::from_secs(3200));
        assert_eq!(wait(StatusCode::TOO_MANY_REQUESTS), long);
        assert_eq!(wait(StatusCode::SERVICE_UNAVAILABLE), None);
    }
}
