use std::{
    cell::LazyCell,
    cmp::Reverse,
    fmt,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};

use crate::{
    Pushback, Quota,
    date::Moment,
    fields,
    number::{Number, Unit, text},
    reset,
};

/// What the headers of one response say about waiting.
///
/// A view that costs nothing to make: a field is looked for and read when it is asked about. A malformed field is ignored, as
/// if it were not there.
///
/// Times count from the receipt of the response. A field that states an absolute time is compared with the response's own
/// `Date`, so that a client's wrong clock changes no wait; only without a `Date` is the local clock read.
///
/// Trailers are headers too: `Hints::of(trailers)` reads the [pushback](Self::grpc_pushback) of a gRPC call with messages.
#[derive(Clone, Copy)]
pub struct Hints<'a> {
    headers: &'a HeaderMap,
    received: Option<SystemTime>,
}

impl<'a> Hints<'a> {
    /// Reads `headers` of a response that was received just now.
    #[must_use]
    pub const fn of(headers: &'a HeaderMap) -> Self {
        Self {
            headers,
            received: None,
        }
    }

    /// Reads `headers` of a response that was received at `received`, without ever asking a clock.
    #[must_use]
    pub const fn at(headers: &'a HeaderMap, received: SystemTime) -> Self {
        Self {
            headers,
            received: Some(received),
        }
    }

    /// How long the server wants to be left alone.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.wait_ms()
            .or_else(|| self.retry_after())
            .or_else(|| self.renamed_retry_after())
            .or_else(|| self.reset())
    }

    /// What `Retry-After` says (RFC 9110 section 10.2.3), alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let now = LazyCell::new(|| self.now());
        let values = self.headers.get_all(RETRY_AFTER).iter();
        values
            .filter_map(text)
            .filter_map(|value| match Number::parse(value) {
                Some(number) => Some(reset::delay(number, &now)),
                None => {
                    let at = Moment::from_http(value, || Some(self.received()))?;
                    Some(at.since(*now))
                }
            })
            .max()
    }

    /// What a gRPC server said about a retry, in `grpc-retry-pushback-ms`.
    #[must_use]
    pub fn grpc_pushback(&self) -> Option<Pushback> {
        Pushback::of(self.headers)
    }

    /// Whether the server wants another attempt.
    #[must_use]
    pub fn should_retry(&self) -> Option<bool> {
        const NAMES: [&str; 2] = ["x-should-retry", "stripe-should-retry"];
        let values = NAMES.iter().flat_map(|&name| self.headers.get_all(name));
        values
            .filter_map(|value| match value.as_bytes() {
                value if value.eq_ignore_ascii_case(b"true") => Some(true),
                value if value.eq_ignore_ascii_case(b"false") => Some(false),
                _ => None,
            })
            .min()
    }

    /// Whether this is the stored answer to an earlier request with the same idempotency key.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        const FLAGS: [&str; 4] = [
            "idempotent-replayed",
            "idempotency-replayed",
            "chargebee-idempotency-replayed",
            "request-idempotency",
        ];
        const FIRST_SENT: &str = "x-gcs-idempotence-request-timestamp";
        let set = |value: &[u8]| value.eq_ignore_ascii_case(b"true") || value == b"?1";
        FLAGS
            .iter()
            .filter_map(|&name| self.headers.get(name))
            .any(|value| set(value.as_bytes()))
            || self
                .headers
                .get(FIRST_SENT)
                .and_then(text)
                .and_then(Number::parse)
                .is_some()
    }

    /// What is left of the server's limits.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        let now = LazyCell::new(|| self.now());
        let mut least = None;
        fields::each_reading(self.headers, &now, |reading| {
            least = [least, reading.quota()]
                .into_iter()
                .flatten()
                .min_by_key(|quota: &Quota| (quota.remaining(), Reverse(quota.reset())));
        });
        least
    }

    fn wait_ms(&self) -> Option<Duration> {
        const NAMES: [&str; 3] = ["retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after"];
        NAMES
            .iter()
            .filter_map(|name| text(self.headers.get(*name)?))
            .find_map(Number::parse)
            .map(|number| number.duration(Unit::Milliseconds))
    }

    fn renamed_retry_after(&self) -> Option<Duration> {
        let value = text(self.headers.get("x-ratelimit-retry-after")?)?;
        Some(Number::parse(value)?.duration(Unit::Seconds))
    }

    /// When the limit that refused us, or may have, lets us through again.
    fn reset(&self) -> Option<Duration> {
        let now = LazyCell::new(|| self.now());
        let mut foremost = None;
        fields::each_reading(self.headers, &now, |reading| {
            foremost = foremost.max(reading.wait());
        });
        foremost.map(|(_, _, wait)| wait)
    }

    /// The response's own time, else the local one.
    fn now(&self) -> Moment {
        let date = self.headers.get(DATE).and_then(text);
        date.and_then(|date| Moment::from_http(date, || Some(self.received())))
            .unwrap_or_else(|| self.received())
    }

    fn received(&self) -> Moment {
        self.received.unwrap_or_else(local_time).into()
    }
}

impl fmt::Debug for Hints<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the headers: some of them are secrets.
        f.debug_struct("Hints")
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a response without a Date leaves nothing else to compare its absolute times with"
)]
fn local_time() -> SystemTime {
    SystemTime::now()
}
