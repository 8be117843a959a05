use std::{num::NonZeroU64, time::Duration};

use courteous_core::{CallContext, Scope, Upload};
use tokio::time::Instant;

use crate::limit::Limit;

const NANOS: u128 = 1_000_000_000;

/// What an attempt's limits on silence need beyond its timeout: for a request whose body streams, and for an idle timeout.
///
/// Both limits start again whenever the client takes a frame of the request's body:
///
/// ```text
/// frame   frame            frame of 20 MB                                        silence
///   |       |                 |<- its transfer, at the least rate ->|<- timeout ->x
///   |<- timeout ->  ...       |
/// ```
#[derive(Debug)]
pub(crate) struct Silence {
    pub(crate) upload: Option<Upload>,
    pub(crate) timeout: Duration,
    pub(crate) least_rate: Option<NonZeroU64>,
    pub(crate) context: CallContext,
    /// How long the response's body may be silent.
    pub(crate) idle_timeout: Option<Duration>,
    /// The end of the wait for the frame that the caller waits for now.
    pub(crate) idle_ends: Option<Instant>,
}

impl Silence {
    /// The later limit that replaces `limit`, that of the attempt, if the upload has made progress since.
    pub(crate) fn extend(&self, limit: &Limit) -> Option<Limit> {
        let later = |(at, timeout)| {
            let later = Limit::earliest(at, timeout, Scope::Attempt, self.context)?;
            (later.deadline() > limit.deadline()).then_some(later)
        };
        self.begins(self.timeout)
            .filter_map(later)
            .max_by_key(Limit::deadline)
    }

    /// Begins the wait for a frame of the response's body, unless it has begun.
    ///
    /// From here on, and not from the last frame on: until now it was the caller who kept the server waiting.
    pub(crate) fn begin_idle(&mut self) {
        if let (Some(timeout), None) = (self.idle_timeout, self.idle_ends) {
            self.idle_ends = Instant::now().checked_add(timeout);
        }
    }

    /// The end of that wait.
    pub(crate) fn idle_limit(&self) -> Option<Limit> {
        Limit::idle(self.idle_ends?, self.idle_timeout?)
    }

    /// Puts that end off, if the upload has made progress since. False if it has not.
    pub(crate) fn extend_idle(&mut self) -> bool {
        let Some(timeout) = self.idle_timeout else {
            return false;
        };
        let ends = self.begins(timeout);
        let later = ends
            .filter_map(|(at, timeout)| at.checked_add(timeout))
            .max();
        let is_later = later > self.idle_ends;
        if is_later {
            self.idle_ends = later;
        }
        is_later
    }

    /// When the client took a frame, and how long the server may be silent after that: of the last frame, and of the last
    /// large one.
    fn begins(&self, timeout: Duration) -> impl Iterator<Item = (Instant, Duration)> + use<> {
        let upload = self.upload.as_ref();
        let last = upload.and_then(Upload::last).map(|at| (at, timeout));
        let large = upload.and_then(Upload::last_large).map(|(at, bytes)| {
            let timeout = with_transfer(timeout, bytes as u64, self.least_rate);
            (at, timeout)
        });
        last.into_iter().chain(large)
    }
}

/// `timeout`, and the time that `bytes` take at `least_rate` bytes per second, if they are more than 64 KiB.
///
/// A client takes a frame at once, whatever its size, and sends it from a buffer of its own: its progress is unknown.
#[inline(never)]
pub(crate) fn with_transfer(
    timeout: Duration,
    bytes: u64,
    least_rate: Option<NonZeroU64>,
) -> Duration {
    let Some(rate) = least_rate.filter(|_| bytes > Upload::LARGE as u64 && !timeout.is_zero())
    else {
        return timeout;
    };
    let nanos = u128::from(bytes % rate) * NANOS / u128::from(rate.get());
    // Less than a second, as the remainder is less than the rate.
    let nanos = u32::try_from(nanos).unwrap_or(0);
    timeout.saturating_add(Duration::new(bytes / rate, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_above_64_kib_adds_its_transfer() {
        let second = Duration::from_secs(1);
        let with = |bytes, rate| with_transfer(second, bytes, NonZeroU64::new(rate));
        assert_eq!(with(65_536, 65_536), second);
        assert_eq!(with(65_537, 65_537), 2 * second);
        assert_eq!(with(98_304, 65_536), second + Duration::from_millis(1500));
        assert_eq!(with(98_304, 0), second);
        assert_eq!(
            with(u64::MAX, 1),
            Duration::from_secs(u64::MAX).saturating_add(second)
        );
        assert_eq!(
            with_transfer(Duration::ZERO, 98_304, NonZeroU64::new(1)),
            Duration::ZERO
        );
        assert_eq!(
            with_transfer(Duration::MAX, 98_304, NonZeroU64::new(1)),
            Duration::MAX
        );
    }
}
