use std::time::Duration;

use http::HeaderMap;

/// What a gRPC server said about a retry of the call, in `grpc-retry-pushback-ms` (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pushback {
    /// Retry after exactly this long; the backoff after that starts from its beginning again.
    After(Duration),
    /// Do not retry.
    Veto,
}

impl Pushback {
    /// Whatever is not one plain number is a veto: A6 has a client take a value that it does not understand for a "no".
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("grpc-retry-pushback-ms").iter();
        let value = values.next()?;
        if values.next().is_some() {
            return Some(Self::Veto);
        }
        Some(match milliseconds(value.as_bytes()) {
            Some(wait) => Self::After(wait),
            None => Self::Veto,
        })
    }
}

/// A non-negative `i32` in decimal, without needless zeros in front.
fn milliseconds(value: &[u8]) -> Option<Duration> {
    let plain = value.iter().all(u8::is_ascii_digit) && (value == b"0" || !value.starts_with(b"0"));
    if !plain {
        return None;
    }
    let milliseconds: i32 = str::from_utf8(value).ok()?.parse().ok()?;
    Some(Duration::from_millis(milliseconds.unsigned_abs().into()))
}
