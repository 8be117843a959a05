use crate::Tick;

/// What a server grants, and what it tells clients that ask for more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QuotaRule {
    /// `per_second` tokens, at most a second's worth saved; says `Retry-After: 1`, whatever the
    /// real wait is.
    Bucket { per_second: u32 },
    /// `requests` in each window; says how long it is to the next window, in whole seconds, rounded
    /// up.
    Window { length: Tick, requests: u32 },
}

/// A quota that is told the time.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    rule: QuotaRule,
    /// Bucket: thousandths of a token. Window: the remaining requests.
    left: u64,
    /// Bucket: when `left` was last updated. Window: when it began.
    since: Tick,
}

impl Quota {
    pub(crate) fn new(rule: QuotaRule) -> Self {
        let left = match rule {
            QuotaRule::Bucket { per_second } => u64::from(per_second) * 1000,
            QuotaRule::Window { requests, .. } => requests.into(),
        };
        Self {
            rule,
            left,
            since: 0,
        }
    }

    /// Takes a token, or returns the seconds that the server asks to wait.
    pub(crate) fn take(&mut self, now: Tick) -> Result<(), u64> {
        match self.rule {
            QuotaRule::Bucket { per_second } => {
                // A token per second is a thousandth of one per millisecond.
                let earned = (now - self.since) * u64::from(per_second);
                self.left = (self.left + earned).min(u64::from(per_second) * 1000);
                self.since = now;
                self.left = self.left.checked_sub(1000).ok_or(1u64)?;
            }
            QuotaRule::Window { length, requests } => {
                let began = now - now % length;
                if began > self.since {
                    (self.since, self.left) = (began, requests.into());
                }
                let wait = (began + length - now).div_ceil(1000);
                self.left = self.left.checked_sub(1).ok_or(wait)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_grants_its_burst_and_then_its_rate() {
        let mut quota = Quota::new(QuotaRule::Bucket { per_second: 100 });
        let granted = (0..10_000)
            .flat_map(|now| [now; 3])
            .filter(|now| quota.take(*now).is_ok());
        assert_eq!(granted.count(), 100 + 999);
        assert_eq!(quota.take(9_999), Err(1));
    }

    #[test]
    fn a_window_grants_its_requests_and_says_when_it_ends() {
        let mut quota = Quota::new(QuotaRule::Window {
            length: 10_000,
            requests: 2,
        });
        assert_eq!((quota.take(9_000), quota.take(9_000)), (Ok(()), Ok(())));
        assert_eq!((quota.take(9_000), quota.take(9_001)), (Err(1), Err(1)));
        assert_eq!(quota.take(10_000), Ok(()));
        assert_eq!((quota.take(10_001), quota.take(10_001)), (Ok(()), Err(10)));
    }
}
