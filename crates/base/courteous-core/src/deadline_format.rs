mod text;

use std::time::Duration;

use http::HeaderValue;

/// How a header field states an amount of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadlineFormat {
    /// gRPC's: up to eight digits and a unit, such as `1500m` for 1.5 s. The finest unit that fits
    /// is used, so the least time that can be stated is a nanosecond; above 99,999,999 hours, that
    /// is what is said.
    Grpc,
    /// Whole milliseconds, such as `1500`.
    Millis,
    /// Seconds, with up to three decimals, such as `1.5`.
    Seconds,
}

impl DeadlineFormat {
    /// Writes `time`, rounded down. Returns `None` if nothing remains.
    #[must_use]
    pub fn write(self, time: Duration) -> Option<HeaderValue> {
        let text = match self {
            Self::Grpc => text::write_grpc(time),
            Self::Millis => text::write_millis(time),
            Self::Seconds => text::write_seconds(time),
        }?;
        text.try_into().ok()
    }

    /// Reads a time. Returns `None` if `value` has another form.
    #[must_use]
    pub fn read(self, value: &HeaderValue) -> Option<Duration> {
        let text = value.to_str().ok()?;
        match self {
            Self::Grpc => text::read_grpc(text),
            Self::Millis => text::read_millis(text),
            Self::Seconds => text::read_seconds(text),
        }
    }
}
