use courteous_concurrency::{ConcurrencyLimitLayer, LimitSnapshot};
use courteous_core::{
    AsError, InvalidSettings, LettersSnapshot, Origin, Partition, ThrottleSnapshot, snapshot,
};
use courteous_retry::{BudgetSnapshot, RetryLayer};

use crate::{Closer, Settings};

snapshot! {
    /// What is in force in a client, at one instant: for a health check, or a support ticket.
    ///
    /// It holds no secret: no header field, no path and no body. Of keys, only origins are shown, and others as
    /// [`Labels`](courteous_core::Labels) say. Of each table of keys, the ten that hold up most are shown, and all are counted. Times
    /// are told as what is left of them.
    ///
    /// `Debug` leaves out what is not there; `{:#?}` is a page. With the feature `serde` it can be serialized.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use courteous::{Courteous, Stack};
    ///
    /// # fn app() -> Result<Router, Box<dyn std::error::Error>> {
    /// # let server: Router = Router::new();
    /// let client: Courteous<Router> = Stack::new().build()?.layer(server);
    /// let app = Router::new().route(
    ///     "/healthz",
    ///     get(async move || {
    ///         let snapshot = client.snapshot();
    ///         format!("{snapshot:#?}") // or `axum::Json(snapshot)`, with the feature `serde`
    ///     }),
    /// );
    /// # Ok(app)
    /// # }
    /// # app().unwrap();
    /// ```
    pub struct Snapshot {
        /// Whether the client is being closed: see [`Closer`].
        pub closing: bool,
        /// How many calls are in flight, with those that wait, to the end of their response bodies.
        pub in_flight: usize,
        /// The settings, all of them, as they are now.
        pub settings: Settings,
        /// The retry budget.
        pub budget: BudgetSnapshot,
        /// What is in flight, and waits for that.
        pub concurrency_limit: LimitSnapshot,
        /// The throttle: its tokens, and what is closed. None if its partition does not tell.
        pub throttle: Option<ThrottleSnapshot>,
        /// The dead letter, if there is one.
        pub dead_letter: Option<LettersSnapshot>,
    }
}

/// The handles of a stack.
pub(crate) struct Handles<'a, P> {
    pub(crate) settings: Settings,
    pub(crate) retry: RetryLayer,
    pub(crate) concurrency: &'a ConcurrencyLimitLayer<AsError, Origin>,
    pub(crate) throttle: &'a P,
    pub(crate) dead_letter: Option<LettersSnapshot>,
    pub(crate) closer: &'a Closer,
}

impl<P: Partition> Handles<'_, P> {
    pub(crate) fn snapshot(self) -> Snapshot {
        Snapshot {
            closing: self.closer.is_closing(),
            in_flight: self.closer.in_flight(),
            settings: self.settings,
            budget: self.retry.budget().snapshot(),
            concurrency_limit: self.concurrency.snapshot(),
            throttle: self.throttle.snapshot(),
            dead_letter: self.dead_letter,
        }
    }

    /// All of `asked`, or nothing.
    pub(crate) fn apply(self, asked: &Settings) -> Result<(), InvalidSettings> {
        asked.check_live(&self.settings)?;
        // What can fail, first: the rates are all set, or none.
        if let Some(rates) = &asked.throttle.rates
            && asked.throttle.rates != self.settings.throttle.rates
        {
            let set = match rates.is_empty() {
                true => Err("there must be at least one rate".to_owned()),
                false => self
                    .throttle
                    .set_rates(rates)
                    .map_err(|error| error.to_string()),
            };
            set.map_err(|rule| InvalidSettings::new("throttle.rates", rule))?;
        }
        if let Some(limit) = asked.concurrency_limit.limit {
            self.concurrency.set_limit(limit);
        }
        if let Some(attempts) = asked.retry.max_attempts {
            self.retry.set_max_attempts(attempts);
        }
        Ok(())
    }
}
