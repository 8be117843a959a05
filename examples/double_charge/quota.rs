//! The payments company's quota, as its documentation would state it: 200 requests per second, in
//! bursts of 40 at most.

use tokio::time::Instant;

/// What the documentation says, in words that [`courteous::throttle::Rate`] understands.
pub(crate) const DOCUMENTED: &str = "200/s";
/// How long a client must wait after a 429, in seconds.
pub(crate) const RETRY_AFTER: u32 = 1;

const PER_SECOND: f64 = 200.0;
const BURST: f64 = 40.0;

/// The server's own token bucket, so that the library is not judged by its own code.
#[derive(Debug)]
pub(crate) struct Quota {
    level: f64,
    filled: Instant,
}

impl Quota {
    pub(crate) fn new() -> Self {
        Self {
            level: BURST,
            filled: Instant::now(),
        }
    }

    /// Whether another request is within the quota.
    pub(crate) fn admit(&mut self) -> bool {
        let now = Instant::now();
        let earned = (now - self.filled).as_secs_f64() * PER_SECOND;
        self.level = (self.level + earned).min(BURST);
        self.filled = now;
        let admitted = self.level >= 1.0;
        if admitted {
            self.level -= 1.0;
        }
        admitted
    }
}
