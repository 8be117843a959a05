use std::{
    cell::LazyCell,
    cmp::Reverse,
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, header::DATE};

use crate::{
    Pushback, Quota, fields, http_date,
    moment::Moment,
    number::{Number, text},
    retry_after, retry_info,
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

    /// How long the server wants to be left alone, as far as it says so on any failure.
    ///
    /// The first of these that is there and valid:
    ///
    /// 1. [`Retry-After`](Self::retry_after) and its kin;
    /// 2. the delay of a [`google.rpc.RetryInfo`](Self::retry_info);
    /// 3. the reset of a limit that is used up: in `RateLimit`, else in the fields of
    ///    [providers](crate#what-is-read). Where there are several, the longest.
    ///
    /// The reset of a limit with something left is no answer: that limit did not refuse the request. Nor is the reset of
    /// a limit whose rest is unknown: servers send it in normal operation, too. For a response that *is* a refusal, ask
    /// for [`refusal_wait`](Self::refusal_wait).
    ///
    /// An invalid field leaves the word to the next, which knows more than a backoff that knows nothing. Zero is an
    /// answer ("now"); it is not `None`. [gRPC pushback](Self::grpc_pushback) has a method of its own, as it may also be
    /// a veto.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.stated().or_else(|| self.reset(false))
    }

    /// As [`wait`](Self::wait), for a response that is known to have no
    /// [`Retry-After`](Self::retry_after), nor one of its kin.
    #[must_use]
    pub fn wait_besides_retry_after(&self) -> Option<Duration> {
        self.retry_info().or_else(|| self.reset(false))
    }

    /// How long the server wants to be left alone, for a response that is a refusal for what the caller has sent: 429, or
    /// what a provider uses in its place.
    ///
    /// The same as [`wait`](Self::wait), and where that is `None`, the reset of a limit whose rest is unknown. The request
    /// was refused, so this limit may be the reason.
    #[must_use]
    pub fn refusal_wait(&self) -> Option<Duration> {
        self.stated().or_else(|| self.reset(true))
    }

    /// What `Retry-After` says (RFC 9110 section 10.2.3), and the fields that are its kin. With one of these, a failure is
    /// a refusal, whatever its status.
    ///
    /// The kin are all fields whose names end with `retry-after`, and maybe `-seconds`, `-ms` or `-milliseconds`:
    /// `retry-after-ms`, `x-ms-retry-after-ms`, `X-RateLimit-Retry-After`. Those in milliseconds come first, with
    /// `x-amz-retry-after`, then `Retry-After`, then the others.
    ///
    /// The value is a number, also with a fraction, or (but for milliseconds) one of the three forms of an HTTP-date. A
    /// date that has passed is zero. Of several values the longest valid one counts. A number beyond `u64` is `u64::MAX`
    /// seconds: very long, and not wrapped.
    ///
    /// Two deviations from the RFC: fractions, as servers send them; and a number of more than 31
    /// days that is within a year of now when it is read as time since 1970 (in s, ms, us or ns) is
    /// taken for that, as no server asks for half a century.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let now = LazyCell::new(|| self.now());
        retry_after::wait(self.headers, &now, || self.received())
    }

    /// The delay of the `google.rpc.RetryInfo` among the details of a gRPC status, in `grpc-status-details-bin`: the
    /// least time before another attempt.
    ///
    /// It is in the trailers, which are the headers where the response has no message. Of several the longest counts. A
    /// delay below zero is zero, and one above 10,000 years is that long, as `google.protobuf.Duration` has it. What is no
    /// base64 (with or without padding) or no protocol buffer counts as if it were not there.
    #[must_use]
    pub fn retry_info(&self) -> Option<Duration> {
        retry_info::retry_delay(self.headers)
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
    /// It does not if there is an `x-envoy-ratelimited`, whatever its value: Envoy's proxies send it with the answers of
    /// their rate limits, and do not retry those themselves.
    ///
    /// It knows better than its status code tells. Where several fields contradict each other,
    /// `false` wins.
    #[must_use]
    pub fn should_retry(&self) -> Option<bool> {
        let said = |(name, value): (&HeaderName, _)| match name.as_str() {
            "x-should-retry" | "stripe-should-retry" => boolean(value),
            "transient-error" => boolean(value).filter(|&passing| passing),
            "x-envoy-ratelimited" => Some(false),
            _ => None,
        };
        self.headers.iter().filter_map(said).min()
    }

    /// Whether this is the stored answer to an earlier request with the same idempotency key.
    ///
    /// If it is an error, then another attempt with that key gets the same one. The markers are
    /// `Idempotent-Replayed`, `Idempotency-Replayed`, `Chargebee-Idempotency-Replayed` and
    /// `Request-Idempotency` where they are true, and `X-GCS-Idempotence-Request-Timestamp` where
    /// it is a number. `false` proves nothing: many servers have no marker.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        let set = |value: &[u8]| value.eq_ignore_ascii_case(b"true") || value == b"?1";
        self.headers.keys().any(|name| {
            let value = || self.headers.get(name);
            match name.as_str() {
                "idempotent-replayed"
                | "idempotency-replayed"
                | "chargebee-idempotency-replayed"
                | "request-idempotency" => value().is_some_and(|value| set(value.as_bytes())),
                "x-gcs-idempotence-request-timestamp" => {
                    let first_sent = value().and_then(text).and_then(Number::parse);
                    first_sent.is_some()
                }
                _ => false,
            }
        })
    }

    /// What is left of the server's limits. Of several limits, the least that is left counts; of
    /// equal ones, the latest reset.
    ///
    /// Meant for every response, also a good one: a caller that slows down in time is never
    /// refused. Where no such field is there, that costs one pass over the names of the headers.
    ///
    /// `None` if nothing says how much remains; a number below zero means that. A limit on
    /// something else than requests (tokens, bytes, points) counts only once it is used up. What a
    /// cache has kept for a while (`Age` above zero) is ignored.
    #[must_use]
    pub fn quota(&self) -> Option<Quota<'a>> {
        let mut least = None;
        self.each_quota(|quota| {
            least = [least, Some(quota)]
                .into_iter()
                .flatten()
                .min_by_key(|quota: &Quota<'_>| (quota.remaining(), Reverse(quota.reset())));
        });
        least
    }

    /// Calls `visit` with what is left of each of the server's limits, in the order of the fields, by the rules of
    /// [`quota`](Self::quota).
    ///
    /// Each says [what it is of](Quota::scope). Of one field, 16 limits are read.
    pub fn each_quota(&self, mut visit: impl FnMut(Quota<'a>)) {
        let now = LazyCell::new(|| self.now());
        fields::each_reading(self.headers, false, &now, |reading| {
            if let Some(quota) = reading.quota() {
                visit(quota);
            }
        });
    }

    /// What the server says in so many words.
    fn stated(&self) -> Option<Duration> {
        self.retry_after().or_else(|| self.retry_info())
    }

    /// When the limit that refused the request, or with `unknown` may have, lets others through again.
    fn reset(&self, unknown: bool) -> Option<Duration> {
        let now = LazyCell::new(|| self.now());
        let mut foremost = None;
        fields::each_reading(self.headers, unknown, &now, |reading| {
            let wait = reading.wait().filter(|&(used_up, ..)| used_up || unknown);
            foremost = foremost.max(wait);
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
