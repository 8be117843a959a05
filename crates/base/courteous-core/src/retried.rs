use std::{error::Error, fmt};

use http::{HeaderMap, StatusCode};

use crate::{BoxError, RetryInfo};

/// A call failed without a response, after all the attempts that were allowed.
///
/// The error of the last attempt is the [`source`](Error::source). Where an attempt before it had a response, its status
/// and headers are here.
///
/// `Display` tells how many attempts were made, and the phrase of the [`StopReason`](crate::StopReason). Where the error around
/// this one tells both, it is [`set_said_above`](Self::set_said_above), so that a chain printed on one line tells them once.
///
/// `Debug` shows no header field: its value may be a secret.
pub struct Retried {
    info: RetryInfo,
    last: Option<(StatusCode, HeaderMap)>,
    source: BoxError,
    is_said_above: bool,
}

impl Retried {
    /// The last attempt failed with `source`.
    #[must_use]
    pub fn new(info: RetryInfo, mut source: BoxError) -> Self {
        // A retry further in that ended the call has given its reason, which is the same one.
        if let Some(inner) = source.downcast_mut::<Self>()
            && inner.info.stop_reason() == info.stop_reason()
        {
            inner.set_said_above(true);
        }
        Self {
            info,
            last: None,
            source,
            is_said_above: false,
        }
    }

    /// States what the last response said that was let go.
    #[must_use]
    pub fn with_last(mut self, status: StatusCode, headers: HeaderMap) -> Self {
        self.last = Some((status, headers));
        self
    }

    /// What was tried, and why it ended.
    #[must_use]
    pub const fn info(&self) -> &RetryInfo {
        &self.info
    }

    /// The status of the last response that was let go for another attempt.
    #[must_use]
    pub fn last_status(&self) -> Option<StatusCode> {
        self.last.as_ref().map(|last| last.0)
    }

    /// The header fields of the last response that was let go for another attempt.
    #[must_use]
    pub fn last_headers(&self) -> Option<&HeaderMap> {
        self.last.as_ref().map(|last| &last.1)
    }

    /// The error of the last attempt. If it is another error of this type, that tells its own attempts and reason again.
    #[must_use]
    pub fn into_source(mut self) -> BoxError {
        if let Some(inner) = self.source.downcast_mut::<Self>() {
            inner.set_said_above(false);
        }
        self.source
    }

    /// States whether the error around this one tells the attempts and the reason. If so, `Display` tells only that the last
    /// error follows, and the status of the last response that was let go, if there was one.
    pub const fn set_said_above(&mut self, said_above: bool) {
        self.is_said_above = said_above;
    }
}

impl fmt::Debug for Retried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retried")
            .field("info", &self.info)
            .field("last_status", &self.last_status())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Retried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_said_above {
            f.write_str("the last error")?;
            return match self.last_status() {
                Some(status) => write!(f, ", after a response with status {}", status.as_u16()),
                None => Ok(()),
            };
        }
        match self.info.attempts() {
            0 => f.write_str("gave up before the first attempt")?,
            1 => f.write_str("gave up after 1 attempt")?,
            attempts => write!(f, "gave up after {attempts} attempts")?,
        }
        write!(f, ": {}", self.info.stop_reason())
    }
}

impl Error for Retried {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::{History, StopReason};

    fn retried(attempts: u32, reason: StopReason, source: impl Into<BoxError>) -> Retried {
        let info = RetryInfo::new(attempts, Duration::ZERO, reason, None, History::new());
        Retried::new(info, source.into())
    }

    #[test]
    fn its_text_tells_the_attempts_and_the_reason() {
        for reason in StopReason::ALL {
            let texts = [0, 1, 3].map(|attempts| retried(attempts, *reason, "reset").to_string());
            let expected = [
                "gave up before the first attempt",
                "gave up after 1 attempt",
                "gave up after 3 attempts",
            ];
            assert_eq!(texts, expected.map(|text| format!("{text}: {reason}")));
        }
    }

    #[test]
    fn a_reason_that_is_said_above_is_not_said_again() {
        let mut error = retried(2, StopReason::Deadline, "reset");
        error.set_said_above(true);
        assert_eq!(error.to_string(), "the last error");
        let mut error = error.with_last(StatusCode::BAD_GATEWAY, HeaderMap::new());
        assert_eq!(
            error.to_string(),
            "the last error, after a response with status 502"
        );
        error.set_said_above(false);
        assert!(error.to_string().contains("deadline"));
    }

    #[test]
    fn its_debug_text_shows_no_header_field() {
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", HeaderValue::from_static("session=s3cret"));
        let error = retried(2, StopReason::Deadline, "reset");
        let text = format!("{:?}", error.with_last(StatusCode::BAD_GATEWAY, headers));
        assert!(text.contains("502") && text.contains("reset"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn a_retry_around_another_one_says_its_reason_once() {
        let inner = |reason| retried(2, reason, "reset");
        let outer = retried(2, StopReason::Deadline, inner(StopReason::Deadline));
        assert_eq!(outer.source.to_string(), "the last error");
        let alone = outer.into_source().to_string();
        assert!(alone.starts_with("gave up after 2 attempts: "), "{alone}");
        let outer = retried(3, StopReason::Deadline, inner(StopReason::Disabled));
        assert_eq!(
            outer.source.to_string(),
            "gave up after 2 attempts: retries are off for this request"
        );
    }
}
