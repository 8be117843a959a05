use std::{error::Error, fmt, time::Duration};

use crate::{
    Budget, BudgetSettings,
    budget::Prices,
    ledger::{Ledger, LedgerSettings, TOKEN},
};

/// The settings of a [`Budget`].
///
/// Values are checked together, by [`build`](Self::build).
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct BudgetBuilder {
    deposit: f64,
    start: u32,
    lowest_cap: u32,
    highest_cap: u32,
    window: Duration,
    prices: Prices,
}

impl BudgetBuilder {
    pub(crate) const fn new() -> Self {
        Self {
            deposit: 0.2,
            start: 8,
            lowest_cap: 3,
            highest_cap: 10,
            window: Duration::from_secs(10),
            prices: Prices::DEFAULT,
        }
    }

    /// What a successful call deposits, in tokens, from 0 to 1. Kept to six decimals. Default: 0.2.
    pub const fn deposit(mut self, ratio: f64) -> Self {
        self.deposit = ratio;
        self
    }

    /// The tokens at the beginning. Default: 8.
    ///
    /// They are there until the first call succeeds: then the balance falls to the
    /// [cap](Self::cap). To keep more than 3 tokens of the start, also set the lower bound of the
    /// cap.
    pub const fn start(mut self, tokens: u32) -> Self {
        self.start = tokens;
        self
    }

    /// The bounds of the cap, in tokens. Between them, the cap is the deposits of the last [`window`](Self::window).
    /// Default: 3 and 10.
    pub const fn cap(mut self, lowest: u32, highest: u32) -> Self {
        self.lowest_cap = lowest;
        self.highest_cap = highest;
        self
    }

    /// How far back successes count for the cap, to a tenth. Default: 10 s.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The cost of a retry that follows a failure without a response: a failed connection, a
    /// timeout. Default: 2. Until the first call succeeds, 1 at most.
    pub const fn price_after_no_response(mut self, tokens: u32) -> Self {
        self.prices.no_response = tokens;
        self
    }

    /// The cost of a retry that follows a server's error. Default: 1. Until the first call
    /// succeeds, 1 at most.
    pub const fn price_after_server_error(mut self, tokens: u32) -> Self {
        self.prices.server = tokens;
        self
    }

    /// The cost of a retry that follows a 429, without a [gate](Budget#gates) and with one.
    /// Default: 1 and 0. Until the first call succeeds, 1 at most.
    pub const fn price_after_throttling(mut self, tokens: u32, with_gate: u32) -> Self {
        self.prices.throttled = tokens;
        self.prices.gated = with_gate;
        self
    }

    /// Applies the values that `settings` state.
    pub fn settings(mut self, settings: &BudgetSettings) -> Self {
        self.start = settings.start.unwrap_or(self.start);
        self.deposit = settings.deposit.unwrap_or(self.deposit);
        self.lowest_cap = settings.lowest_cap.unwrap_or(self.lowest_cap);
        self.highest_cap = settings.highest_cap.unwrap_or(self.highest_cap);
        self.window = settings.window.unwrap_or(self.window);
        let prices = &mut self.prices;
        prices.no_response = (settings.price_after_no_response).unwrap_or(prices.no_response);
        prices.server = (settings.price_after_server_error).unwrap_or(prices.server);
        prices.throttled = (settings.price_after_throttling).unwrap_or(prices.throttled);
        prices.gated = settings.price_at_gate.unwrap_or(prices.gated);
        self
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

    /// Builds the budget.
    ///
    /// # Errors
    ///
    /// If the deposit is not within 0 and 1, the cap's bounds are out of order, or the window is
    /// zero.
    pub fn build(self) -> Result<Budget, InvalidBudget> {
        let wrong = if !(0.0..=1.0).contains(&self.deposit) {
            Rule::Deposit(self.deposit)
        } else if self.lowest_cap > self.highest_cap {
            Rule::Cap(self.lowest_cap, self.highest_cap)
        } else if self.window.is_zero() {
            Rule::Window
        } else {
            return Ok(self.build_valid());
        };
        Err(InvalidBudget(wrong))
    }

    /// Builds the budget from settings that are known to be valid.
    pub(crate) fn build_valid(self) -> Budget {
        let tokens = |n: u32| u64::from(n) * TOKEN;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a ratio within 0 and 1"
        )]
        let deposit = (self.deposit * TOKEN as f64).round() as u64;
        let ledger = Ledger::new(LedgerSettings {
            deposit,
            start: tokens(self.start),
            lowest_cap: tokens(self.lowest_cap),
            highest_cap: tokens(self.highest_cap),
            window: self.window,
        });
        Budget::with(self.prices, Some(ledger), Some(self))
    }
}

/// The settings of a budget contradict its rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvalidBudget(Rule);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Deposit(f64),
    Cap(u32, u32),
    Window,
}

impl fmt::Display for InvalidBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rule::Deposit(ratio) => write!(f, "a deposit of {ratio} is not within 0 and 1"),
            Rule::Cap(lowest, highest) => {
                write!(
                    f,
                    "the lower bound of the cap, {lowest}, is above the upper one, {highest}"
                )
            }
            Rule::Window => f.write_str("a window of zero holds no successes"),
        }
    }
}

impl Error for InvalidBudget {}
