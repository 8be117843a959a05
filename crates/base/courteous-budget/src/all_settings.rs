use std::time::Duration;

use crate::{
    BudgetSettings, InvalidBudget,
    invalid_budget::Rule,
    ledger::{Ledger, LedgerSettings, TOKEN},
    prices::Prices,
};

/// A value for each setting of a budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllSettings {
    pub(crate) deposit: f64,
    pub(crate) start: u32,
    pub(crate) lowest_cap: u32,
    pub(crate) highest_cap: u32,
    pub(crate) window: Duration,
    pub(crate) prices: Prices,
}

impl AllSettings {
    pub(crate) const DEFAULT: Self = Self {
        deposit: 0.2,
        start: 8,
        lowest_cap: 3,
        highest_cap: 10,
        window: Duration::from_secs(10),
        prices: Prices::DEFAULT,
    };

    /// The same with the values that `settings` state.
    pub(crate) fn with(self, settings: &BudgetSettings) -> Self {
        let prices = self.prices;
        Self {
            deposit: settings.deposit.unwrap_or(self.deposit),
            start: settings.start.unwrap_or(self.start),
            lowest_cap: settings.lowest_cap.unwrap_or(self.lowest_cap),
            highest_cap: settings.highest_cap.unwrap_or(self.highest_cap),
            window: settings.window.unwrap_or(self.window),
            prices: Prices {
                no_response: (settings.price_after_no_response).unwrap_or(prices.no_response),
                server: (settings.price_after_server_error).unwrap_or(prices.server),
                throttled: (settings.price_after_throttling).unwrap_or(prices.throttled),
                gated: settings.price_at_gate.unwrap_or(prices.gated),
            },
        }
    }

    pub(crate) const fn all(&self) -> BudgetSettings {
        BudgetSettings {
            start: Some(self.start),
            deposit: Some(self.deposit),
            lowest_cap: Some(self.lowest_cap),
            highest_cap: Some(self.highest_cap),
            window: Some(self.window),
            price_after_no_response: Some(self.prices.no_response),
            price_after_server_error: Some(self.prices.server),
            price_after_throttling: Some(self.prices.throttled),
            price_at_gate: Some(self.prices.gated),
        }
    }

    /// These settings, if they follow the rules of
    /// [`BudgetBuilder::build`](crate::BudgetBuilder::build).
    pub(crate) fn check(self) -> Result<Self, InvalidBudget> {
        let wrong = if !(0.0..=1.0).contains(&self.deposit) {
            Rule::Deposit(self.deposit)
        } else if self.lowest_cap > self.highest_cap {
            Rule::Cap(self.lowest_cap, self.highest_cap)
        } else if self.window.is_zero() {
            Rule::Window
        } else {
            return Ok(self);
        };
        Err(InvalidBudget(wrong))
    }

    /// The ledger of a budget with these settings, which follow the rules.
    pub(crate) fn ledger(&self) -> Ledger {
        let tokens = |n: u32| u64::from(n) * TOKEN;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a ratio within 0 and 1"
        )]
        let deposit = (self.deposit * TOKEN as f64).round() as u64;
        Ledger::new(LedgerSettings {
            deposit,
            start: tokens(self.start),
            lowest_cap: tokens(self.lowest_cap),
            highest_cap: tokens(self.highest_cap),
            window: self.window,
        })
    }
}
