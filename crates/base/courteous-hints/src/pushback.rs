use std::time::Duration;

use http::HeaderMap;

use crate::fields;

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
    /// Whatever is not one plain number is a veto: A6 has a client take a value that it does not
    /// understand for a "no".
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = fields::named(headers, "grpc-retry-pushback-ms");
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Option<Pushback> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).expect("a field value");
            headers.append("grpc-retry-pushback-ms", value);
        }
        Pushback::of(&headers)
    }

    // gRFC A6, "Pushback": a number is how long to wait.
    #[test]
    fn a_number_is_a_wait_in_milliseconds() {
        let after = |ms| Some(Pushback::After(Duration::from_millis(ms)));
        assert_eq!(read(&["0"]), after(0));
        assert_eq!(read(&["10"]), after(10));
        assert_eq!(read(&["2147483647"]), after(2_147_483_647));
    }

    // gRFC A6, "Pushback": a negative value, or one that cannot be parsed, is a request not to
    // retry.
    #[test]
    fn everything_else_is_a_veto() {
        for value in [
            "-1",
            "-0",
            "+5",
            "",
            "1.5",
            "5s",
            "abc",
            "007",
            "00",
            "2147483648",
            "99999999999999999999",
        ] {
            assert_eq!(read(&[value]), Some(Pushback::Veto), "{value:?}");
        }
    }

    #[test]
    fn several_values_are_a_veto() {
        assert_eq!(read(&["10", "10"]), Some(Pushback::Veto));
    }

    #[test]
    fn no_value_is_no_pushback() {
        assert_eq!(read(&[]), None);
    }
}
