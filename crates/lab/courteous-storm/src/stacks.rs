//! The stacks that the suite compares.

mod ours;
mod probe;
mod rivals;
mod rules;

use std::{fmt, io};

use ::courteous::retry::Jitter;

use self::ours::Settings;
use crate::{Report, Scenario};

/// A stack that the suite knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stack {
    /// Timeouts only.
    NoRetry,
    /// Three retries at once.
    Naive,
    /// Three retries, exponential from 100 ms with full jitter.
    FullJitter,
    /// Tower's `Retry`, `TpsBudget` and `ExponentialBackoff`, as its documentation puts them together.
    Tower,
    /// reqwest's rules: two retries at once, Tower's budget.
    Reqwest,
    /// The rules of the AWS SDKs' standard mode.
    Aws,
    /// The rules of gRFC A6, with a throttle of 10 tokens.
    Grpc,
    /// This project's five layers, with their defaults.
    Courteous,
    /// The same with an adaptive limit in place of the fixed one, which the retry's budget trusts.
    CourteousAdaptive,
    /// The five layers with equal jitter.
    CourteousEqual,
    /// The same with decorrelated jitter.
    CourteousDecorrelated,
}

impl Stack {
    /// All stacks. The last two differ from the default.
    pub const ALL: [Self; 11] = [
        Self::NoRetry,
        Self::Naive,
        Self::FullJitter,
        Self::Tower,
        Self::Reqwest,
        Self::Aws,
        Self::Grpc,
        Self::Courteous,
        Self::CourteousAdaptive,
        Self::CourteousEqual,
        Self::CourteousDecorrelated,
    ];

    /// A short name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRetry => "no-retry",
            Self::Naive => "naive",
            Self::FullJitter => "full-jitter",
            Self::Tower => "tower",
            Self::Reqwest => "reqwest-like",
            Self::Aws => "aws",
            Self::Grpc => "grpc",
            Self::Courteous => "courteous",
            Self::CourteousAdaptive => "courteous-adaptive",
            Self::CourteousEqual => "courteous-equal",
            Self::CourteousDecorrelated => "courteous-decorrelated",
        }
    }

    /// The project whose code runs.
    #[must_use]
    pub const fn origin(self) -> &'static str {
        match self {
            Self::NoRetry => "tower's timeouts",
            Self::Naive | Self::FullJitter => "tower's retry and timeouts, our policy",
            Self::Tower => "tower's own code, all of it",
            Self::Reqwest => "reqwest's rules in our policy; tower's retry, budget and timeouts",
            Self::Aws | Self::Grpc => "published rules in our policy; tower's retry and timeouts",
            Self::Courteous
            | Self::CourteousAdaptive
            | Self::CourteousEqual
            | Self::CourteousDecorrelated => "the layers of this workspace",
        }
    }

    /// Whether the stack takes part in `scenario`: jitters other than the default are judged only
    /// if backoff is judged alone.
    #[must_use]
    pub const fn is_for(self, scenario: &Scenario) -> bool {
        match self {
            Self::CourteousEqual | Self::CourteousDecorrelated => scenario.budget_off,
            _ => true,
        }
    }

    /// Runs `scenario` with this stack.
    ///
    /// # Errors
    ///
    /// If no runtime can be created.
    pub fn run(self, scenario: &Scenario) -> io::Result<Report> {
        let report = match self {
            Self::NoRetry => crate::run(scenario, rivals::no_retry),
            Self::Naive => crate::run(scenario, rivals::naive),
            Self::FullJitter => crate::run(scenario, rivals::full_jitter),
            Self::Tower => crate::run(scenario, rivals::tower),
            Self::Reqwest => crate::run(scenario, rivals::reqwest),
            Self::Aws => crate::run(scenario, rivals::aws),
            Self::Grpc => crate::run(scenario, rivals::grpc),
            Self::Courteous => ours(scenario, Settings::default()),
            Self::CourteousAdaptive => crate::run(scenario, ours::adaptive),
            Self::CourteousEqual => ours(scenario, Settings::with_jitter(Jitter::Equal)),
            Self::CourteousDecorrelated => {
                ours(scenario, Settings::with_jitter(Jitter::Decorrelated))
            }
        };
        report.map(|report| report.with_stack(self.name()))
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn ours(scenario: &Scenario, settings: Settings) -> io::Result<Report> {
    crate::run(scenario, |transport, required| {
        ours::client(transport, required, &settings)
    })
}
