use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use courteous_core::{Fault, Pressure, plain::Plain};
use tokio::time::Instant;

use crate::{
    BudgetSettings, BudgetSnapshot, InvalidBudget,
    account::Account,
    all_settings::AllSettings,
    ledger::{Ledger, TOKEN},
    prices::Prices,
};

/// Bounds how many retries all calls that share it may make, in proportion to the calls that
/// succeed.
///
/// A backoff spaces the attempts of one call; it does not bound what a thousand calls do together.
/// While a server fails, every call fails. With three attempts each, the server gets three times
/// its load when it can bear the least. The budget ends that: each successful call deposits a part
/// of a token, and each retry spends tokens. With no token left, the call ends with the result that
/// it has.
///
/// | | default | why |
/// |---|---|---|
/// | deposit | 0.2 a successful call | at most one retry to five calls in the long run |
/// | start | 8, until the first call succeeds | four calls that fail in a new process have 3 attempts each |
/// | cap | 0.2 x the successes of the last 10 s, held within 3 and 10 | see below |
/// | price after no response | 2; 1 until the first call succeeds | a timeout holds the server's work and the client's patience the longest |
/// | price after a server's error | 1 | |
/// | price after a 429 | 1, or 0 for a retry that waits at a gate | see below |
///
/// A retry pays before its backoff. The payment comes back only if it is certain that the retry was
/// not sent: the call was dropped during the backoff, or an inner limit rejected the attempt. (A
/// call that is dropped while its attempt is queued at an inner limit has paid: that cannot be told
/// from an attempt on the wire.) A refused connection is not refunded: otherwise an outage of
/// refused connections would draw every attempt of every call.
///
/// All retries together never spend more than the deposits plus the start. This is exact: amounts
/// are whole millionths.
///
/// # In a new process
///
/// Until the first call succeeds, a retry costs at most 1, whatever its price is; a price of 0
/// stays free. Four calls that fail in a new process get 3 attempts each: their eight retries spend
/// the start. Each later call gets 1 attempt. With the first success the balance falls to the cap,
/// which is 3 in a quiet process, and the prices apply. So a demo, a test or a command-line tool
/// gets the promised attempts, and a recovering server meets no saved-up retries.
///
/// A process thus adds at most eight requests, once. `courteous-storm` measures a fleet that
/// restarts as a whole, at 700 calls a second. In the middle of an outage, silent or refusing, 5,
/// 100 and 1,000 processes serve as many calls as they would without retries, and recover as soon.
/// The price is the attempts for each call: 1.00, 1.02 and 1.16. A start of 3 with full prices
/// takes 1.00, 1.01 and 1.04.
///
/// A server that is overloaded, and not gone, does all that work. At 20 % of its capacity it takes
/// 49 s to recover without retries; 53 s after a restart of 100 processes; and 79 s after a restart
/// of 1,000. Their 8,000 retries are eight seconds of its whole capacity. Give a fleet of that many
/// small clients a [`start`](crate::BudgetBuilder::start) of 0 or 1.
///
/// # Gates
///
/// A 429 that says when to come back closes a [gate](courteous_core::Gate) of an inner throttle,
/// which holds up all calls to that server. Waiting at the gate adds no load, so the retries that
/// wait there cost less. Two conditions apply: the gate opens in a second or later, and at most ten
/// gates in a row come without a success. All other retries pay the price of a 429. Without the
/// last condition, a server that answers nothing but 429 could have every call sent as often as a
/// call may be. The server's headers must not switch the budget off.
///
/// # Successes
///
/// A call has succeeded if the server did what it was asked to do. An answer that refuses (4xx, or
/// a gRPC status other than OK in the head) ends the call, and deposits nothing.
///
/// # Why there is no floor
///
/// Some budgets grant a few retries a second whatever happens. A thousand clients with a floor of
/// ten a second send ten thousand requests a second to a server that answers none of them, for as
/// long as it is down: the floor keeps it down. Here, nothing grows with time alone. The cap has
/// the same reason: many small clients, each with a large balance saved up in good times, could
/// start a storm together.
///
/// # Sharing
///
/// A clone is a handle on the same budget. Every service that a layer makes draws on the layer's
/// budget. Several layers share a budget if you give it to all of them; use one budget for each
/// server. If a layer is rebuilt for each call, its budget starts from the beginning each time, and
/// bounds nothing.
///
/// # Example
///
/// ```
/// use courteous_budget::Budget;
///
/// let budget = Budget::builder().deposit(0.1).start(5).build()?;
/// assert_eq!(budget.balance(), 5.0);
/// # Ok::<_, courteous_budget::InvalidBudget>(())
/// ```
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None`: unlimited.
    settings: Option<AllSettings>,
    prices: Prices,
    /// `None`: unlimited.
    account: Option<Account>,
    paid: AtomicU64,
    rejected: AtomicU64,
    /// Created when the first call is observed.
    observed: OnceLock<Budget>,
}

impl Budget {
    /// A budget with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::of(AllSettings::DEFAULT)
    }

    /// A budget without a bound, for batches whose attempts are bounded in another way.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::with(Prices::DEFAULT, None, None)
    }

    /// A budget with settings that follow the rules.
    pub(crate) fn of(settings: AllSettings) -> Self {
        Self::with(settings.prices, Some(settings.ledger()), Some(settings))
    }

    fn with(prices: Prices, ledger: Option<Ledger>, settings: Option<AllSettings>) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                prices,
                account: ledger.map(Account::new),
                paid: AtomicU64::new(0),
                rejected: AtomicU64::new(0),
                observed: OnceLock::new(),
            }),
        }
    }

    /// The available tokens; infinite if the budget is unlimited.
    #[must_use]
    pub fn balance(&self) -> f64 {
        match &self.shared.account {
            Some(account) => account.balance(Instant::now()),
            None => f64::INFINITY,
        }
    }

    /// How many retries were paid for and not refunded, since the budget was made.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.shared.paid.load(Ordering::Relaxed)
    }

    /// How many retries were rejected because there were too few tokens, since the budget was made.
    #[must_use]
    pub fn rejections(&self) -> u64 {
        self.shared.rejected.load(Ordering::Relaxed)
    }

    /// All settings that a file can state; empty if the budget is unlimited.
    #[must_use]
    pub fn settings(&self) -> BudgetSettings {
        let settings = self.shared.settings.as_ref();
        settings.map_or_else(BudgetSettings::default, AllSettings::all)
    }

    /// Returns this budget if it already has these `settings`, else a new budget that shares
    /// nothing with it.
    ///
    /// # Errors
    ///
    /// If the settings contradict the rules of
    /// [`BudgetBuilder::build`](crate::BudgetBuilder::build).
    pub fn with_settings(&self, settings: &BudgetSettings) -> Result<Self, InvalidBudget> {
        if settings.differs_from(&self.settings()).is_none() {
            return Ok(self.clone());
        }
        let own = self.shared.settings.unwrap_or(AllSettings::DEFAULT);
        own.with(settings).check().map(Self::of)
    }

    /// The current state, for a health check or a support ticket.
    #[must_use]
    pub fn snapshot(&self) -> BudgetSnapshot {
        BudgetSnapshot {
            balance: Some(self.balance()).filter(|balance| balance.is_finite()),
            retries: self.retries(),
            rejections: self.rejections(),
        }
    }

    /// The same budget, as charged by retries that are only observed.
    ///
    /// It has this budget's settings and its own accounts, so that an observed retry takes nothing
    /// from a real one. It starts as a new budget does, and so does this budget when retries are
    /// enforced.
    #[must_use]
    pub fn observed(&self) -> Self {
        let new = || {
            let Shared {
                prices,
                account,
                settings,
                ..
            } = &*self.shared;
            Self::with(*prices, account.as_ref().map(Account::fresh), *settings)
        };
        self.shared.observed.get_or_init(new).clone()
    }

    /// Deposits what a successful call earns. Call it once per call, when the server did what it
    /// was asked to do.
    pub fn deposit(&self) {
        self.deposit_under(None);
    }

    /// Deposits what a successful call earns, if an adaptive limit watches the server: while it is
    /// calm, a whole token. `None` is no such limit.
    pub fn deposit_under(&self, pressure: Option<Pressure>) {
        if let Some(account) = &self.shared.account {
            let amount = match pressure.is_some_and(Pressure::is_calm) {
                true => TOKEN,
                false => 0,
            };
            account.deposit(Instant::now(), amount);
        }
    }

    /// Takes the price of a retry after `fault`. Returns `None`, and counts a rejection, if there are
    /// too few tokens.
    ///
    /// `gate` is the instant at which the gate opens for which the retry will wait, if there is
    /// one.
    #[must_use]
    pub fn withdraw(&self, now: Instant, fault: Fault, gate: Option<Instant>) -> Option<Payment> {
        self.withdraw_under(now, fault, gate, None)
    }

    /// Takes the price of a retry as [`withdraw`](Self::withdraw) does, if an adaptive limit watches
    /// the server. `silence` is what it says after an attempt that was sent and not answered: while
    /// the server is calm, the price is 1. While it is not, there is no retry at all, as the server
    /// may still be at work on the attempt. `None` is no such limit, or another failure.
    #[must_use]
    pub fn withdraw_under(
        &self,
        now: Instant,
        fault: Fault,
        gate: Option<Instant>,
        silence: Option<Pressure>,
    ) -> Option<Payment> {
        if silence.is_some_and(|pressure| !pressure.is_calm()) {
            self.shared.rejected.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let Shared {
            prices, account, ..
        } = &*self.shared;
        let account = account.as_ref();
        let gate = gate.filter(|_| fault == Fault::Throttled);
        let gated = gate
            .is_some_and(|opens_at| account.is_none_or(|account| account.pass_gate(now, opens_at)));
        let price = prices.of(fault, gated);
        let price = if silence.is_some() {
            price.min(1)
        } else {
            price
        };
        let paid = account.map_or(Some(price), |account| account.withdraw(now, price));
        let Some(paid) = paid else {
            self.shared.rejected.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        self.shared.paid.fetch_add(1, Ordering::Relaxed);
        Some(Payment {
            budget: Some(self.clone()),
            paid,
        })
    }

    fn refund(&self, paid: u32) {
        if let Some(account) = &self.shared.account {
            account.refund(paid);
        }
        self.shared.paid.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("balance", &self.balance())
            .field("retries", &self.retries())
            .field("rejections", &self.rejections())
            .finish_non_exhaustive()
    }
}

/// The payment for one retry. It is given back when dropped, unless the retry was sent.
#[derive(Debug)]
#[must_use = "a payment that is dropped is given back"]
pub struct Payment {
    /// `None` once the retry was sent.
    budget: Option<Budget>,
    paid: u32,
}

impl Payment {
    /// Marks the retry as sent: nothing is given back, unless it turns out that it was not sent.
    #[must_use]
    pub fn sent(mut self) -> Receipt {
        Receipt {
            budget: self.budget.take(),
            paid: self.paid,
        }
    }
}

impl Drop for Payment {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.refund(self.paid);
        }
    }
}

/// The payment for a retry that was sent. Dropping it gives nothing back.
#[derive(Debug)]
pub struct Receipt {
    budget: Option<Budget>,
    paid: u32,
}

impl Receipt {
    /// Says that the retry was not sent after all. The returned payment is given back when it is
    /// dropped.
    pub fn unsent(self) -> Payment {
        Payment {
            budget: self.budget,
            paid: self.paid,
        }
    }
}
