use courteous_concurrency::{ConcurrencyLimitLayer, LimitSnapshot, PerOrigin};
use courteous_core::{Decision, InvalidSettings, LettersSnapshot, ObserveOnly, snapshot};
use courteous_limit::{Partition, ThrottleSnapshot};
use courteous_retry::{BudgetSnapshot, RetryLayer};

use crate::{client::Closer, stack::Settings};

snapshot! {
    /// What is in force in a client, at one instant: for a health check, or a support ticket.
    ///
    /// It holds no secret: no header field, no path and no body. Of keys, only origins are shown, and others as
    /// [`Labels`](courteous_limit::Labels) say. Of each table of keys, the ten that hold up most are shown, and all are counted. Times
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
        /// What layers have only observed; none if all enforce, and always have.
        pub observe_only: Option<ObserveSnapshot>,
    }
}

snapshot! {
    /// The layers of a stack that only observe, and what their switches have counted. See [`ObserveOnly`].
    pub struct ObserveSnapshot {
        /// The layers that only observe now.
        pub layers: Vec<String>,
        /// What they would have done, but for what was never counted.
        pub decisions: Vec<DecisionSnapshot>,
    }
}

snapshot! {
    /// How often a layer that only observes has decided something.
    pub struct DecisionSnapshot {
        /// The [`Decision`].
        pub decision: String,
        /// How often.
        pub count: u64,
    }
}

impl ObserveSnapshot {
    fn of(switches: &[(&'static str, Option<ObserveOnly>)]) -> Option<Self> {
        // Layers may share one.
        let mut distinct: Vec<&ObserveOnly> = Vec::new();
        for switch in switches.iter().filter_map(|(_, switch)| switch.as_ref()) {
            if !distinct.contains(&switch) {
                distinct.push(switch);
            }
        }
        let observing =
            |switch: &Option<ObserveOnly>| ObserveOnly::active(switch.as_ref()).is_some();
        let layers = switches.iter().filter(|(_, switch)| observing(switch));
        let layers: Vec<_> = layers.map(|(layer, _)| (*layer).to_owned()).collect();
        let decisions = Decision::ALL.iter().map(|&decision| DecisionSnapshot {
            decision: format!("{decision:?}"),
            count: distinct.iter().map(|switch| switch.count(decision)).sum(),
        });
        let decisions: Vec<_> = decisions.filter(|decided| decided.count > 0).collect();
        (!layers.is_empty() || !decisions.is_empty()).then_some(Self { layers, decisions })
    }
}

/// The handles of a stack.
pub(crate) struct Handles<'a, P> {
    pub(crate) settings: Settings,
    pub(crate) retry: RetryLayer,
    pub(crate) concurrency: &'a ConcurrencyLimitLayer<PerOrigin>,
    pub(crate) throttle: &'a P,
    pub(crate) dead_letter: Option<LettersSnapshot>,
    pub(crate) closer: &'a Closer,
    /// Of each layer, by its name.
    pub(crate) switches: Vec<(&'static str, Option<ObserveOnly>)>,
}

impl<P: Partition> Handles<'_, P> {
    pub(crate) fn snapshot(self) -> Snapshot {
        Snapshot {
            closing: self.closer.is_closing(),
            in_flight: self.closer.in_flight(),
            settings: self.settings,
            budget: self.retry.budget().snapshot(),
            // Never none: limiters for each origin tell.
            concurrency_limit: self.concurrency.snapshot().unwrap_or_default(),
            throttle: self.throttle.snapshot(),
            dead_letter: self.dead_letter,
            observe_only: ObserveSnapshot::of(&self.switches),
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
            // Never an error: it is above zero, and so is the next.
            let set = self.concurrency.set_limit(limit.get());
            set.map_err(|error| error.within("concurrency_limit"))?;
        }
        if let Some(attempts) = asked.retry.max_attempts {
            let set = self.retry.set_max_attempts(attempts.get());
            set.map_err(|error| InvalidSettings::new("retry.max_attempts", error.to_string()))?;
        }
        Ok(())
    }
}
