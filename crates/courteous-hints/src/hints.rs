use std::{
    cell::LazyCell,
    cmp::Reverse,
    fmt,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderValue,
    header::{DATE, RETRY_AFTER},
};

use crate::{
    Pushback, Quota, fields, http_date,
    moment::Moment,
    number::{Number, Unit, text},
    reset,
};

/// What the headers of one response say about waiting.
///
/// A view that costs nothing to make: a field is looked for and read when it is asked about. A
/// malformed field counts as if it were not there.
///
/// Times count from the receipt of the response. A field that states an absolute time is compared
/// with the response's own `Date`, which comes from the same clock, so that a wrong local one
/// changes no wait. Only without a `Date` is the local clock read.
///
/// No answer is bounded: `Retry-After: 31536000` is a year. The caller has a cap, and stops instead
/// of coming back sooner.
///
/// Trailers are headers too: `Hints::of(trailers)` reads the [pushback](Self::grpc_pushback) at the
/// end of a gRPC call.
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

    /// How long the server wants to be left alone, for one that refused the request: with 429 or
    /// 503, or by its own convention.
    ///
    /// The first of these that is there and valid:
    ///
    /// 1. `retry-after-ms`, `x-ms-retry-after-ms`, `x-amz-retry-after`, in milliseconds;
    /// 2. [`Retry-After`](Self::retry_after), and `X-RateLimit-Retry-After` in seconds;
    /// 3. the reset of a limit that is used up: in `RateLimit`, else in the fields of
    ///    [providers](crate#what-is-read);
    /// 4. the reset of a limit of which it is not known how much remains, in the same order.
    ///
    /// Where there are several in 3 or 4, the longest. The reset of a limit with something left is
    /// no answer: it did not refuse the request, and whoever did has not said how long. An invalid
    /// field leaves the word to the next, as it knows more than a backoff that knows nothing.
    ///
    /// Zero is an answer ("now"); it is not `None`. [gRPC pushback](Self::grpc_pushback) is asked
    /// for by itself, as it may also be a veto.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.wait_ms()
            .or_else(|| self.retry_after())
            .or_else(|| self.renamed_retry_after())
            .or_else(|| self.reset())
    }

    /// What `Retry-After` says (RFC 9110 section 10.2.3), alone.
    ///
    /// A number of seconds, also with a fraction, or one of the three forms of an HTTP-date; a date
    /// that has passed is zero. Of several fields the longest valid one counts. A number beyond
    /// `u64` is `u64::MAX` seconds: very long, and not wrapped.
    ///
    /// Two deviations from the RFC: fractions, as servers send them; and a number of more than 31
    /// days that is within a year of now when it is read as time since 1970 (in s, ms, us or ns) is
    /// taken for that, as nobody asks for half a century.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let now = LazyCell::new(|| self.now());
        let values = self.headers.get_all(RETRY_AFTER).iter();
        values
            .filter_map(text)
            .filter_map(|value| match Number::parse(value) {
                Some(number) => Some(reset::delay(number, &now)),
                None => {
                    let at = http_date::parse(value, || self.received())?;
                    Some(at.since(*now))
                }
            })
            .max()
    }

    /// What a gRPC server said about a retry, in `grpc-retry-pushback-ms` (gRFC A6).
    ///
    /// It is in the trailers, which are the headers where the response has no message.
    #[must_use]
    pub fn grpc_pushback(&self) -> Option<Pushback> {
        Pushback::of(self.headers)
    }

    /// Whether the server wants another attempt, in `x-should-retry` (OpenAI, Anthropic) or
    /// `stripe-should-retry`; it does also with a true `transient-error` (Adyen).
    ///
    /// It knows better than its status code tells. Where several fields contradict each other,
    /// `false` wins.
    #[must_use]
    pub fn should_retry(&self) -> Option<bool> {
        const NAMES: [&str; 2] = ["x-should-retry", "stripe-should-retry"];
        let said = |name| fields::named(self.headers, name).filter_map(boolean);
        let passing = said("transient-error").filter(|&passing| passing);
        NAMES.into_iter().flat_map(said).chain(passing).min()
    }

    /// Whether this is the stored answer to an earlier request with the same idempotency key.
    ///
    /// If it is an error, then another attempt with that key gets the same one. The markers are
    /// `Idempotent-Replayed`, `Idempotency-Replayed`, `Chargebee-Idempotency-Replayed` and
    /// `Request-Idempotency` where they are true, and `X-GCS-Idempotence-Request-Timestamp` where
    /// it is a number. `false` proves nothing: many servers have no marker.
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
            .filter_map(|&name| fields::named(self.headers, name).next())
            .any(|value| set(value.as_bytes()))
            || fields::named(self.headers, FIRST_SENT)
                .next()
                .and_then(text)
                .and_then(Number::parse)
                .is_some()
    }

    /// What is left of the server's limits; of several, the one with the least left, and of equals
    /// the one that resets last.
    ///
    /// Meant for every response, also a good one: a caller that slows down in time is never
    /// refused. Where no such field is there, that costs one pass over the names of the headers.
    ///
    /// `None` if nothing says how much remains; a number below zero means that. A limit on
    /// something else than requests (tokens, bytes, points) counts only once it is used up. What a
    /// cache has kept for a while (`Age` above zero) is ignored.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        let now = LazyCell::new(|| self.now());
        let mut least = None;
        fields::each_reading(self.headers, false, &now, |reading| {
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
            .filter_map(|name| text(fields::named(self.headers, name).next()?))
            .find_map(Number::parse)
            .map(|number| number.duration(Unit::Milliseconds))
    }

    fn renamed_retry_after(&self) -> Option<Duration> {
        let value = text(fields::named(self.headers, "x-ratelimit-retry-after").next()?)?;
        Some(Number::parse(value)?.duration(Unit::Seconds))
    }

    /// When the limit that refused us, or may have, lets us through again.
    fn reset(&self) -> Option<Duration> {
        let now = LazyCell::new(|| self.now());
        let mut foremost = None;
        fields::each_reading(self.headers, true, &now, |reading| {
            foremost = foremost.max(reading.wait());
        });
        foremost.map(|(_, _, wait)| wait)
    }

    /// The response's own time, else the local one.
    fn now(&self) -> Moment {
        let date = self.headers.get(DATE).and_then(text);
        date.and_then(|date| http_date::parse(date, || self.received()))
            .unwrap_or_else(|| self.received())
    }

    fn received(&self) -> Moment {
        self.received.unwrap_or_else(local_time).into()
    }
}

fn boolean(value: &HeaderValue) -> Option<bool> {
    match value.as_bytes() {
        value if value.eq_ignore_ascii_case(b"true") => Some(true),
        value if value.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
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
