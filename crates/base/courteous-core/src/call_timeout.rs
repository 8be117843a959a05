use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::DeadlineFormat;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const ENVOY_EXPECTED_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// A request extension: the total timeout of this call, whatever the total timeout layer's own is.
///
/// It may be longer or shorter than the layer's. [`Duration::MAX`] means none. A deadline that a
/// layer further out has set stays: the earliest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallTimeout(pub Duration);

impl CallTimeout {
    /// How much time the client of a server gives it, by the `headers` of the request that the server got: for the calls
    /// that the server makes in turn.
    ///
    /// Read are `grpc-timeout` (gRPC over HTTP/2) and `x-envoy-expected-rq-timeout-ms`, in which Envoy tells how long it
    /// waits. The shortest counts; a value that cannot be read, and Envoy's `0`, is as if it were not there. `None` if
    /// nothing is said.
    ///
    /// The time runs from when the request came in, so read it then. It is the client's word: as a request extension it
    /// replaces a layer's timeout by a longer one, too, unless it is bounded by [`at_most`](Self::at_most).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use courteous_core::CallTimeout;
    /// use http::Request;
    ///
    /// let incoming = Request::get("/report").header("grpc-timeout", "1500m").body(())?;
    /// let timeout = CallTimeout::from_headers(incoming.headers());
    /// assert_eq!(timeout, Some(CallTimeout(Duration::from_millis(1500))));
    ///
    /// let mut outgoing = Request::get("http://stock.internal/items").body(())?;
    /// if let Some(timeout) = timeout {
    ///     outgoing.extensions_mut().insert(timeout.at_most(Duration::from_secs(30)));
    /// }
    /// # Ok::<_, http::Error>(())
    /// ```
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let grpc = Self::from_header(headers, &GRPC_TIMEOUT, DeadlineFormat::Grpc);
        let envoy = Self::from_header(headers, &ENVOY_EXPECTED_TIMEOUT, DeadlineFormat::Millis);
        // Envoy says zero of a request without a timeout.
        let envoy = envoy.filter(|timeout| !timeout.0.is_zero());
        grpc.into_iter()
            .chain(envoy)
            .min_by_key(|timeout| timeout.0)
    }

    /// The same as [`from_headers`](Self::from_headers), by the field called `name`, whose values have the form `format`:
    /// what an attempt timeout with such a field writes on the other side.
    ///
    /// Of several values the shortest counts.
    #[must_use]
    pub fn from_header(
        headers: &HeaderMap,
        name: &HeaderName,
        format: DeadlineFormat,
    ) -> Option<Self> {
        let stated = headers.get_all(name).iter();
        stated
            .filter_map(|value| format.read(value))
            .min()
            .map(Self)
    }

    /// This timeout, or `limit` if that is shorter.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        Self(self.0.min(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&'static str, &'static str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        CallTimeout::from_headers(&headers).map(|timeout| timeout.0)
    }

    fn millis(millis: u64) -> Option<Duration> {
        Some(Duration::from_millis(millis))
    }

    #[test]
    fn an_incoming_deadline_is_read_in_all_units() {
        for (value, expected) in [
            ("100000000n", None),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("1500000u", millis(1500)),
            ("1500m", millis(1500)),
            ("15S", millis(15_000)),
            ("2M", millis(120_000)),
            ("1H", millis(3_600_000)),
            ("0n", millis(0)),
            ("15", None),
            ("-1S", None),
            ("soon", None),
        ] {
            assert_eq!(read(&[("grpc-timeout", value)]), expected, "{value}");
        }
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn of_several_incoming_deadlines_the_shortest_counts() {
        let envoy = |value| ("x-envoy-expected-rq-timeout-ms", value);
        assert_eq!(read(&[envoy("1500")]), millis(1500));
        assert_eq!(read(&[envoy("0")]), None);
        assert_eq!(read(&[envoy("1500"), ("grpc-timeout", "1S")]), millis(1000));
        assert_eq!(read(&[envoy("500"), ("grpc-timeout", "1S")]), millis(500));
        assert_eq!(read(&[envoy("0"), ("grpc-timeout", "1S")]), millis(1000));
        let two = [("grpc-timeout", "2S"), ("grpc-timeout", "1S")];
        assert_eq!(read(&two), millis(1000));
    }

    #[test]
    fn what_the_layer_writes_is_read_again() {
        let name = HeaderName::from_static("x-request-timeout");
        for (format, value) in [
            (DeadlineFormat::Grpc, "1500m"),
            (DeadlineFormat::Millis, "1500"),
            (DeadlineFormat::Seconds, "1.5"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(&name, value.parse().unwrap());
            let timeout = CallTimeout::from_header(&headers, &name, format);
            assert_eq!(timeout.map(|timeout| timeout.0), millis(1500));
            assert_eq!(CallTimeout::from_headers(&headers), None);
        }
    }

    #[test]
    fn a_strangers_deadline_can_be_bounded() {
        let second = Duration::from_secs(1);
        assert_eq!(CallTimeout(5 * second).at_most(second), CallTimeout(second));
        assert_eq!(CallTimeout(second).at_most(5 * second), CallTimeout(second));
    }
}
