use std::time::Duration;

use crate::{Budget, BudgetSettings, InvalidBudget, all_settings::AllSettings};

/// The settings of a [`Budget`].
///
/// Values are checked together, by [`build`](Self::build).
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct BudgetBuilder {
    settings: AllSettings,
}

impl Budget {
    /// A budget with other settings.
    pub fn builder() -> BudgetBuilder {
        BudgetBuilder {
            settings: AllSettings::DEFAULT,
        }
    }
}

impl BudgetBuilder {
    /// What a successful call deposits, in tokens, from 0 to 1. Kept to six decimals. Default: 0.2.
    pub const fn deposit(mut self, ratio: f64) -> Self {
        self.settings.deposit = ratio;
        self
    }

    /// The tokens at the beginning. Default: 8.
    ///
    /// They are there until the first call succeeds: then the balance falls to the
    /// [cap](Self::cap). To keep more than 3 tokens of the start, also set the lower bound of the
    /// cap.
    pub const fn start(mut self, tokens: u32) -> Self {
        self.settings.start = tokens;
        self
    }

    /// The bounds of the cap, in tokens. Between them, the cap is the deposits of the last [`window`](Self::window).
    /// Default: 3 and 10.
    pub const fn cap(mut self, lowest: u32, highest: u32) -> Self {
        self.settings.lowest_cap = lowest;
        self.settings.highest_cap = highest;
        self
    }

    /// How far back successes count for the cap, to a tenth. Default: 10 s.
    pub const fn window(mut self, window: Duration) -> Self {
        self.settings.window = window;
        self
    }

    /// The cost of a retry that follows a failure without a response: a failed connection, a
    /// timeout. Default: 2. Until the first call succeeds, 1 at most.
    pub const fn price_after_no_response(mut self, tokens: u32) -> Self {
        self.settings.prices.no_response = tokens;
        self
    }

    /// The cost of a retry that follows a server's error. Default: 1. Until the first call
    /// succeeds, 1 at most.
    pub const fn price_after_server_error(mut self, tokens: u32) -> Self {
        self.settings.prices.server = tokens;
        self
    }

    /// The cost of a retry that follows a 429, without a [gate](Budget#gates) and with one.
    /// Default: 1 and 0. Until the first call succeeds, 1 at most.
    pub const fn price_after_throttling(mut self, tokens: u32, with_gate: u32) -> Self {
        self.settings.prices.throttled = tokens;
        self.settings.prices.gated = with_gate;
        self
    }

    /// Applies the values that `settings` state.
    pub fn settings(mut self, settings: &BudgetSettings) -> Self {
        self.settings = self.settings.with(settings);
        self
    }

    /// Builds the budget.
    ///
    /// # Errors
    ///
    /// If the deposit is not within 0 and 1, the cap's bounds are out of order, or the window is
    /// zero.
    pub fn build(self) -> Result<Budget, InvalidBudget> {
        self.settings.check().map(Budget::of)
    }
}
