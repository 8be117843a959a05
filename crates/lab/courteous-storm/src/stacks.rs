//! The stacks that the suite compares.

mod limits;
mod ours;
mod probe;

use std::{fmt, io};

use ::courteous::{concurrency::adaptive::AdaptiveLimitLayer, retry::Jitter};

use self::ours::Settings;
use crate::{Report, Scenario, rivals, scenario::Load};

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
    /// The AIMD limit of tower-acc, in place of ours.
    AccAimd,
    /// The Gradient2 limit of tower-acc, in place of ours.
    AccGradient2,
    /// The Vegas limit of tower-acc, in place of ours.
    AccVegas,
    /// The AIMD limit of tower-resilience-adaptive, in place of ours.
    ResilienceAimd,
    /// The Vegas limit of tower-resilience-adaptive, in place of ours.
    ResilienceVegas,
    /// Vector's adaptive request concurrency, as in rate_limiter_aimd, in place of ours.
    Vector,
    /// Netflix' Gradient2, in place of ours.
    Netflix,
    /// The adaptive limiter of failsafe-go, in place of ours.
    Failsafe,
    /// This project's five layers, with their defaults.
    Courteous,
    /// The same with an adaptive limit in place of the fixed one, which the retry's budget trusts.
    CourteousAdaptive,
    /// The same, with waiting calls served in the order in which they came.
    CourteousOldest,
    /// The five layers with equal jitter.
    CourteousEqual,
    /// The same with decorrelated jitter.
    CourteousDecorrelated,
}

impl Stack {
    /// All stacks. The last two differ from the default.
    pub const ALL: [Self; 20] = [
        Self::NoRetry,
        Self::Naive,
        Self::FullJitter,
        Self::Tower,
        Self::Reqwest,
        Self::Aws,
        Self::Grpc,
        Self::AccAimd,
        Self::AccGradient2,
        Self::AccVegas,
        Self::ResilienceAimd,
        Self::ResilienceVegas,
        Self::Vector,
        Self::Netflix,
        Self::Failsafe,
        Self::Courteous,
        Self::CourteousAdaptive,
        Self::CourteousOldest,
        Self::CourteousEqual,
        Self::CourteousDecorrelated,
    ];

    /// The one of this project that the floors are about.
    pub const SHIPPED: Self = Self::CourteousAdaptive;

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
            Self::AccAimd => "acc-aimd",
            Self::AccGradient2 => "acc-gradient2",
            Self::AccVegas => "acc-vegas",
            Self::ResilienceAimd => "resilience-aimd",
            Self::ResilienceVegas => "resilience-vegas",
            Self::Vector => "vector",
            Self::Netflix => "netflix-gradient2",
            Self::Failsafe => "failsafe-go",
            Self::Courteous => "courteous",
            Self::CourteousAdaptive => "courteous-adaptive",
            Self::CourteousOldest => "courteous-oldest",
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
            Self::AccAimd
            | Self::AccGradient2
            | Self::AccVegas
            | Self::ResilienceAimd
            | Self::ResilienceVegas => "its own algorithm in our service; our layers around it",
            Self::Vector | Self::Netflix | Self::Failsafe => {
                "published rules in our service; our layers around it"
            }
            Self::Courteous
            | Self::CourteousAdaptive
            | Self::CourteousOldest
            | Self::CourteousEqual
            | Self::CourteousDecorrelated => "the layers of this workspace",
        }
    }

    /// Whether it is one of this project.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Courteous
                | Self::CourteousAdaptive
                | Self::CourteousOldest
                | Self::CourteousEqual
                | Self::CourteousDecorrelated
        )
    }

    /// Whether it has another project's adaptive limit in the place of ours.
    pub(crate) const fn is_adaptive_rival(self) -> bool {
        matches!(
            self,
            Self::AccAimd
                | Self::AccGradient2
                | Self::AccVegas
                | Self::ResilienceAimd
                | Self::ResilienceVegas
                | Self::Vector
                | Self::Netflix
                | Self::Failsafe
        )
    }

    /// Whether a floor of `scenario` depends on the stack. From S12 on, they are all about the
    /// adaptive limit.
    pub(crate) fn is_judged(self, scenario: &Scenario) -> bool {
        match self {
            Self::CourteousAdaptive | Self::CourteousOldest => true,
            _ => !matches!(
                scenario.group(),
                "S12" | "S13" | "S14" | "S15" | "S16" | "S17" | "S18"
            ),
        }
    }

    /// Whether the stack takes part in `scenario`: jitters other than the default are judged only
    /// if backoff is judged alone, and another order of waiting if all calls come at once.
    #[must_use]
    pub const fn is_for(self, scenario: &Scenario) -> bool {
        match self {
            Self::CourteousEqual | Self::CourteousDecorrelated => scenario.budget_off,
            Self::CourteousOldest => matches!(scenario.load, Load::Burst { .. }),
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
            Self::AccAimd => limited(scenario, limits::acc_aimd),
            Self::AccGradient2 => limited(scenario, limits::acc_gradient2),
            Self::AccVegas => limited(scenario, limits::acc_vegas),
            Self::ResilienceAimd => limited(scenario, limits::resilience_aimd),
            Self::ResilienceVegas => limited(scenario, limits::resilience_vegas),
            Self::Vector => limited(scenario, limits::vector),
            Self::Netflix => limited(scenario, limits::netflix),
            Self::Failsafe => limited(scenario, limits::failsafe),
            Self::Courteous => ours(scenario, Settings::default()),
            Self::CourteousAdaptive => adaptive(scenario, |limit| limit),
            Self::CourteousOldest => adaptive(scenario, AdaptiveLimitLayer::oldest_first),
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

fn limited(
    scenario: &Scenario,
    limit: fn() -> (Box<dyn limits::Algorithm>, limits::Manner),
) -> io::Result<Report> {
    crate::run(scenario, |transport, required| {
        ours::limited(transport, required, limits::LimitLayer::new(limit()))
    })
}

fn adaptive(
    scenario: &Scenario,
    change: fn(AdaptiveLimitLayer) -> AdaptiveLimitLayer,
) -> io::Result<Report> {
    crate::run(scenario, |transport, required| {
        ours::adaptive(transport, required, change)
    })
}
