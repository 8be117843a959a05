//! When to retry, by the rules of other projects.

use std::time::Duration;

use http::StatusCode;
use tower::{
    retry::{
        backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _},
        budget::{Budget as _, TpsBudget},
    },
    util::rng::HasherRng,
};

use crate::chance::Chance;

/// A client's rule: its state is shared by all calls.
pub(crate) trait Rule {
    /// An attempt has succeeded.
    fn succeeded(&mut self, call: &mut Progress) {
        let _ = call;
    }

    /// An attempt has failed: how long to wait before the next one, or `None` to give up.
    fn failed(&mut self, call: &mut Progress, failure: Failure) -> Option<Pause>;
}

/// A wait.
pub(crate) enum Pause {
    For(Duration),
    Until(tokio::time::Sleep),
}

/// The history of a call.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    pub(crate) attempts: u32,
    /// What the call's last retry has cost.
    paid: u32,
    backoff: Option<ExponentialBackoff<HasherRng<Seeded>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    NoResponse,
    Status(StatusCode),
}

/// Immediate, or exponential with full jitter; no budget.
pub(crate) struct Plain {
    pub(crate) max_attempts: u32,
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
    pub(crate) chance: Chance,
}

impl Rule for Plain {
    fn failed(&mut self, call: &mut Progress, _: Failure) -> Option<Pause> {
        let retry = call.attempts;
        (retry < self.max_attempts)
            .then(|| full_jitter(self.base, self.cap, retry, &mut self.chance))
    }
}

fn full_jitter(base: Duration, cap: Duration, retry: u32, chance: &mut Chance) -> Pause {
    let grown = base.saturating_mul(2u32.saturating_pow(retry - 1)).min(cap);
    Pause::For(if grown.is_zero() {
        grown
    } else {
        grown.mul_f64(chance.unit())
    })
}

/// Tower's rule: a budget of 10 a second and a fifth of the successes, in a window of 10 s, and no
/// other limit. Its backoff is cloned for each call, including the random numbers.
pub(crate) struct Tower {
    pub(crate) budget: Option<TpsBudget>,
    pub(crate) backoff: Option<ExponentialBackoffMaker<HasherRng<Seeded>>>,
    pub(crate) max_attempts: u32,
}

impl Rule for Tower {
    fn succeeded(&mut self, _: &mut Progress) {
        if let Some(budget) = &self.budget {
            budget.deposit();
        }
    }

    fn failed(&mut self, call: &mut Progress, _: Failure) -> Option<Pause> {
        let paid = || self.budget.as_ref().is_none_or(|budget| budget.withdraw());
        if call.attempts >= self.max_attempts || !paid() {
            return None;
        }
        let Some(maker) = &mut self.backoff else {
            return Some(Pause::For(Duration::ZERO));
        };
        let backoff = call.backoff.get_or_insert_with(|| maker.make_backoff());
        Some(Pause::Until(backoff.next_backoff()))
    }
}

/// `RandomState` with a seed.
#[derive(Clone, Copy)]
pub(crate) struct Seeded(pub(crate) u64);

impl std::hash::BuildHasher for Seeded {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        use std::hash::Hasher as _;
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// The standard mode of the AWS SDKs: a bucket of 500 tokens. A retry costs 14, or 5 after a 429,
/// and the payment comes back with the success of its call. A successful call without a retry adds
/// 1.
pub(crate) struct Aws {
    pub(crate) tokens: Option<u32>,
    pub(crate) max_attempts: u32,
    pub(crate) chance: Chance,
}

impl Aws {
    pub(crate) const FULL: u32 = 500;
}

impl Rule for Aws {
    fn succeeded(&mut self, call: &mut Progress) {
        if let Some(tokens) = &mut self.tokens {
            *tokens = (*tokens + call.paid.max(1)).min(Self::FULL);
        }
    }

    fn failed(&mut self, call: &mut Progress, failure: Failure) -> Option<Pause> {
        if call.attempts >= self.max_attempts {
            return None;
        }
        let throttled = failure == Failure::Status(StatusCode::TOO_MANY_REQUESTS);
        let (price, base) = if throttled { (5, 1_000) } else { (14, 50) };
        if let Some(tokens) = &mut self.tokens {
            *tokens = tokens.checked_sub(price)?;
        }
        call.paid = price;
        let base = Duration::from_millis(base);
        let cap = Duration::from_secs(20);
        Some(full_jitter(base, cap, call.attempts, &mut self.chance))
    }
}

/// gRFC A6: each failure takes a token, and each success adds a tenth of one. With half of the
/// tokens or fewer left, no call retries. Four attempts, 100 ms doubled up to 1 s, full jitter, as
/// in the example there.
pub(crate) struct Grpc {
    /// In tenths.
    pub(crate) tokens: Option<u32>,
    pub(crate) max_attempts: u32,
    pub(crate) chance: Chance,
}

impl Grpc {
    pub(crate) const FULL: u32 = 100;
}

impl Rule for Grpc {
    fn succeeded(&mut self, _: &mut Progress) {
        if let Some(tokens) = &mut self.tokens {
            *tokens = (*tokens + 1).min(Self::FULL);
        }
    }

    fn failed(&mut self, call: &mut Progress, _: Failure) -> Option<Pause> {
        if let Some(tokens) = &mut self.tokens {
            *tokens = tokens.saturating_sub(10);
            if *tokens <= Self::FULL / 2 {
                return None;
            }
        }
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(1));
        (call.attempts < self.max_attempts)
            .then(|| full_jitter(base, cap, call.attempts, &mut self.chance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Stream;

    fn first() -> Progress {
        Progress {
            attempts: 1,
            ..Progress::default()
        }
    }

    /// How many calls may retry once, one after another, without a success.
    fn retries(rule: &mut impl Rule, failure: Failure) -> usize {
        (0..10_000)
            .take_while(|_| rule.failed(&mut first(), failure).is_some())
            .count()
    }

    fn aws() -> Aws {
        Aws {
            tokens: Some(Aws::FULL),
            max_attempts: 3,
            chance: Chance::new(1, Stream::Clients),
        }
    }

    #[test]
    fn aws_has_500_tokens_of_which_a_retry_takes_14_and_after_a_429_it_takes_5() {
        assert_eq!(retries(&mut aws(), Failure::NoResponse), 500 / 14);
        let throttled = Failure::Status(StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(retries(&mut aws(), throttled), 500 / 5);
    }

    #[test]
    fn aws_gives_back_what_a_retry_took_that_succeeds_and_one_to_a_call_without() {
        let mut rule = aws();
        let (mut good, mut call) = (first(), first());
        retries(&mut rule, Failure::NoResponse);
        assert_eq!(rule.tokens, Some(500 % 14));
        rule.succeeded(&mut good);
        assert_eq!(rule.tokens, Some(500 % 14 + 1));
        rule.tokens = Some(14);
        assert!(rule.failed(&mut call, Failure::NoResponse).is_some());
        rule.succeeded(&mut call);
        assert_eq!(rule.tokens, Some(14));
    }

    #[test]
    fn grpc_stops_at_half_of_its_tokens_and_every_failure_counts() {
        let mut rule = Grpc {
            tokens: Some(Grpc::FULL),
            max_attempts: 4,
            chance: Chance::new(1, Stream::Clients),
        };
        assert_eq!(retries(&mut rule, Failure::NoResponse), 4);
        // The fifth failure has left half of the tokens; ten successes add one token.
        (0..10).for_each(|_| rule.succeeded(&mut first()));
        assert_eq!(retries(&mut rule, Failure::NoResponse), 0);
        (0..11).for_each(|_| rule.succeeded(&mut first()));
        assert_eq!(retries(&mut rule, Failure::NoResponse), 1);
    }
}
