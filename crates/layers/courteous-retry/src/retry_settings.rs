use std::{num::NonZeroU32, sync::Arc, time::Duration};

use courteous_backoff::Backoff;
use courteous_budget::BudgetSettings;
use courteous_core::{InvalidSettings, settings};

use crate::settings::Settings;

settings! {
    /// The settings of a retry, as a file can state them. What is not stated is left as it is.
    pub struct RetrySettings {
        /// [`RetryLayer::with_max_attempts`](crate::RetryLayer::with_max_attempts).
        pub max_attempts: Option<NonZeroU32>,
        /// [`RetryLayer::with_max_wait`](crate::RetryLayer::with_max_wait).
        pub max_wait: Option<Duration>,
        /// [`RetryLayer::with_retry_throttled`](crate::RetryLayer::with_retry_throttled).
        pub retry_throttled: Option<bool>,
        /// [`RetryLayer::with_retry_refused`](crate::RetryLayer::with_retry_refused).
        pub retry_refused: Option<bool>,
        /// [`RetryLayer::with_body_limit`](crate::RetryLayer::with_body_limit), in bytes.
        pub body_limit: Option<usize>,
        /// [`RetryLayer::with_backoff`](crate::RetryLayer::with_backoff).
        pub backoff: BackoffSettings,
        /// [`RetryLayer::with_overload_backoff`](crate::RetryLayer::with_overload_backoff).
        pub overload_backoff: BackoffSettings,
        /// [`RetryLayer::with_throttled_backoff`](crate::RetryLayer::with_throttled_backoff).
        pub throttled_backoff: BackoffSettings,
        /// [`RetryLayer::with_budget`](crate::RetryLayer::with_budget). If anything is stated that is not so already, the layer gets
        /// a new budget, which it shares with no other.
        pub budget: BudgetSettings,
    }
}

settings! {
    /// The settings of a [`Backoff`]. Its growth and its jitter are left as they are.
    pub struct BackoffSettings {
        /// The delay before the first retry, jitter apart.
        pub base: Option<Duration>,
        /// The longest delay.
        pub cap: Option<Duration>,
        /// What each delay is multiplied by for the next one, jitter apart, if the growth is exponential.
        pub factor: Option<f64>,
    }
}

impl RetrySettings {
    pub(crate) fn of(settings: &Settings) -> Self {
        let policy = &settings.policy;
        Self {
            max_attempts: Some(settings.own_max_attempts()),
            max_wait: Some(policy.max_wait),
            retry_throttled: Some(policy.retry_throttled),
            retry_refused: Some(policy.retry_refused),
            body_limit: Some(settings.body_limit),
            backoff: BackoffSettings::of(&policy.backoff),
            overload_backoff: BackoffSettings::of(&policy.overload_backoff),
            throttled_backoff: BackoffSettings::of(&policy.throttled_backoff),
            budget: settings.budget.settings(),
        }
    }

    pub(crate) fn apply_to(&self, settings: &mut Settings) -> Result<(), InvalidSettings> {
        if let Some(attempts) = self.max_attempts {
            settings.max_attempts = Arc::new(attempts.get().into());
        }
        let policy = &mut settings.policy;
        policy.max_wait = self.max_wait.unwrap_or(policy.max_wait);
        policy.retry_throttled = self.retry_throttled.unwrap_or(policy.retry_throttled);
        policy.retry_refused = self.retry_refused.unwrap_or(policy.retry_refused);
        settings.body_limit = self.body_limit.unwrap_or(settings.body_limit);
        for (name, stated, backoff) in [
            ("backoff", &self.backoff, &mut policy.backoff),
            (
                "overload_backoff",
                &self.overload_backoff,
                &mut policy.overload_backoff,
            ),
            (
                "throttled_backoff",
                &self.throttled_backoff,
                &mut policy.throttled_backoff,
            ),
        ] {
            *backoff = stated
                .applied_to(*backoff)
                .map_err(|error| error.within(name))?;
        }
        let budget = settings.budget.with_settings(&self.budget);
        settings.budget =
            budget.map_err(|error| InvalidSettings::new("budget", error.to_string()))?;
        Ok(())
    }
}

impl BackoffSettings {
    fn of(backoff: &Backoff) -> Self {
        Self {
            base: Some(backoff.base()),
            cap: Some(backoff.cap()),
            factor: backoff.factor(),
        }
    }

    fn applied_to(&self, mut backoff: Backoff) -> Result<Backoff, InvalidSettings> {
        let invalid = |field| move |error| InvalidSettings::new(field, format!("{error}"));
        if let Some(base) = self.base {
            backoff = backoff.with_base(base);
        }
        if let Some(cap) = self.cap {
            backoff = backoff.with_cap(cap).map_err(invalid("cap"))?;
        }
        if let Some(factor) = self.factor {
            backoff = backoff.with_factor(factor).map_err(invalid("factor"))?;
        }
        Ok(backoff)
    }
}
