use std::time::Duration;

use courteous_concurrency::LimitSettings;
use courteous_core::{InvalidSettings, plain::Plain, settings};
use courteous_idempotency::KeySettings;
use courteous_retry::RetrySettings;
use courteous_throttle::ThrottleSettings;

settings! {
    /// The settings of a [`Stack`](crate::Stack), as a file can state them.
    ///
    /// Each is optional. What is not stated is left as it is: at [the stack's default](crate::Stack), or as the code has set it.
    /// So a file can go over what the code says, and further settings over the file.
    ///
    /// With the feature `serde` they are read from any format that serde knows, and written. Durations read like `30s`, `500ms` or
    /// `1m 30s`, and rates like `25/s` or `90000/min burst 1000` (see [`Rate`](crate::throttle::Rate#text)); `unlimited` is no limit. An
    /// unknown name is an error, and an error names the setting, its value and the rule.
    ///
    #[cfg_attr(feature = "serde", doc = "```")]
    #[cfg_attr(not(feature = "serde"), doc = "```ignore")]
    /// use courteous::{Stack, stack::Settings};
    ///
    /// let settings: Settings = toml::from_str(
    ///     r#"
    ///     total_timeout = "20s"
    ///     attempt_timeout = "5s"
    ///
    ///     [idempotency_key]
    ///     hosts = ["api.example.com"]
    ///
    ///     [retry]
    ///     max_attempts = 4
    ///     backoff = { base = "200ms", cap = "10s" }
    ///     budget = { deposit = 0.1 }
    ///
    ///     [concurrency_limit]
    ///     limit = 64
    ///     max_wait = "2s"
    ///
    ///     [throttle]
    ///     rates = ["25/s", "1000/h burst 50"]
    ///     "#,
    /// )?;
    /// let layer = Stack::new().with_settings(&settings)?.build()?;
    /// assert_eq!(layer.settings().retry.max_attempts, settings.retry.max_attempts);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// In a running client, [`Courteous::apply`](crate::Courteous::apply) changes what can be changed there.
    pub struct Settings {
        /// [`Stack::with_total_timeout`](crate::Stack::with_total_timeout).
        pub total_timeout: Option<Duration>,
        /// [`Stack::with_attempt_timeout`](crate::Stack::with_attempt_timeout).
        pub attempt_timeout: Option<Duration>,
        /// [`AttemptTimeoutLayer::with_idle_timeout`](courteous_timeout::AttemptTimeoutLayer::with_idle_timeout).
        pub idle_timeout: Option<Duration>,
        /// [`Stack::streaming`](crate::Stack::streaming).
        pub streaming: Option<bool>,
        /// [`Stack::with_idempotency_key`](crate::Stack::with_idempotency_key). Stating anything switches keys on. The retry and
        /// the dead letter are told the name of the header field.
        pub idempotency_key: KeySettings,
        /// [`Stack::with_retry`](crate::Stack::with_retry).
        pub retry: RetrySettings,
        /// [`Stack::with_concurrency_limit`](crate::Stack::with_concurrency_limit).
        pub concurrency_limit: LimitSettings,
        /// [`Stack::with_throttle`](crate::Stack::with_throttle).
        pub throttle: ThrottleSettings,
    }
}

impl Settings {
    /// What of these settings is not so in `current`, and cannot be changed in a running client.
    pub(crate) fn check_live(&self, current: &Self) -> Result<(), InvalidSettings> {
        let mut fixed = self.clone();
        fixed.throttle.rates = None;
        fixed.concurrency_limit.limit = None;
        fixed.retry.max_attempts = None;
        match fixed.differs_from(current) {
            None => Ok(()),
            Some(field) => Err(InvalidSettings::new(
                &field,
                "this cannot be changed in a running client: build another one",
            )),
        }
    }
}
