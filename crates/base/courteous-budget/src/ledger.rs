use std::time::Duration;

use tokio::time::Instant;

/// One token, in the ledger's unit.
pub(crate) const TOKEN: u64 = 1_000_000;

/// The number of equal slots in which the window of successes is counted.
const SLOTS: usize = 10;

/// The longest slot: longer than a process lives, and short enough for the clock's range.
const LONGEST_SLOT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A gate that opens sooner does not hold up a crowd.
const SHORTEST_GATE: Duration = Duration::from_secs(1);

/// At this many gates in a row, retries cost less without a success. Many small clients that share
/// a quota seldom meet more.
const GATES: usize = 10;

/// The accounts of a budget. It is told the time, and never loops over the time that has passed.
///
/// ```text
///           new                     first deposit                    in use
///   balance <= start        --------------------------->     balance <= cap
///   a price is 1 at most     balance falls to the cap        prices as they were set
/// ```
///
/// The invariant: all retries together spend at most the start plus the deposits. A refund gives
/// back what was *paid*. So a retry that paid 1 while the ledger was new gets 1 back, also after
/// the first deposit.
///
/// An example with the defaults: four calls time out in a new process. Their eight retries pay 1
/// each, and 0 is left. A fifth call cannot pay for a retry. A sixth call succeeds and deposits
/// 0.2. From now on a retry after a timeout costs 2: ten successes pay for it. If the first call of
/// the process succeeds instead, the balance falls from 8 to 3, the cap of a quiet process.
///
/// Why: a process that has just started knows nothing of the server, and each of its first calls is
/// a user's first impression. The start is spent once, so it adds at most `start` requests per
/// process. A start that outlived the first deposit would be a balance that a quiet process saves
/// up, which the cap must prevent.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    settings: LedgerSettings,
    balance: u64,
    /// Whether no call has succeeded yet.
    is_new: bool,
    successes: [u64; SLOTS],
    /// The length of a slot.
    width: Duration,
    /// When the newest slot ends, and its index. `None` before the first success.
    newest: Option<(Instant, usize)>,
    /// When the gates open at which retries have cost less since the last success.
    gates: Vec<Instant>,
}

/// The fixed settings: amounts in millionths of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LedgerSettings {
    pub(crate) deposit: u64,
    pub(crate) start: u64,
    pub(crate) lowest_cap: u64,
    pub(crate) highest_cap: u64,
    pub(crate) window: Duration,
}

impl Ledger {
    pub(crate) fn new(settings: LedgerSettings) -> Self {
        Self {
            settings,
            balance: settings.start,
            is_new: true,
            successes: [0; SLOTS],
            width: (settings.window / SLOTS as u32).clamp(Duration::from_nanos(1), LONGEST_SLOT),
            newest: None,
            gates: Vec::new(),
        }
    }

    /// A new ledger with the same settings.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(self.settings)
    }

    /// Whether a retry that waits for a gate, which opens at `opens_at`, costs less.
    ///
    /// Retries that wait at the same gate cost less, if the gate is closed for long enough to hold
    /// them up. Not all calls hear of a gate at the same time: opening times that are at most a
    /// second apart are one gate. A server can name any number of gates, and each call can wait for
    /// several. So after a few gates, nothing costs less until a call has succeeded.
    pub(crate) fn pass_gate(&mut self, now: Instant, opens_at: Instant) -> bool {
        if opens_at.saturating_duration_since(now) < SHORTEST_GATE {
            return false;
        }
        let is_same = |gate: &Instant| {
            let apart = opens_at.max(*gate) - opens_at.min(*gate);
            now < *gate && apart <= SHORTEST_GATE
        };
        if self.gates.iter().any(is_same) {
            return true;
        }
        let passes = self.gates.len() < GATES;
        if passes {
            self.gates.push(opens_at);
        }
        passes
    }

    /// Deposits for a successful call.
    #[cfg(test)]
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.deposit_amount(now, self.settings.deposit);
    }

    /// Deposits `amount` for a successful call, in millionths of a token.
    pub(crate) fn deposit_amount(&mut self, now: Instant, amount: u64) {
        self.advance(now);
        self.is_new = false;
        self.gates.clear();
        let (_, slot) = *self.newest.get_or_insert_with(|| (now + self.width, 0));
        self.successes[slot] += 1;
        self.balance = self.balance.saturating_add(amount).min(self.cap());
    }

    /// What a success deposits, in millionths of a token.
    pub(crate) const fn usual_deposit(&self) -> u64 {
        self.settings.deposit
    }

    /// Until when a deposit would change nothing: as long as its slot has all the successes that
    /// can count, and the balance is at its highest.
    pub(crate) fn sated_until(&self) -> Option<Instant> {
        let (ends, slot) = self.newest?;
        let enough = self.successes[slot].saturating_mul(self.settings.deposit);
        let highest = self.settings.highest_cap;
        (self.gates.is_empty() && self.balance == highest && enough >= highest).then_some(ends)
    }

    /// Takes `price` tokens, but at most 1 before the first deposit. Returns what it took, or
    /// `None` if there are too few tokens.
    pub(crate) fn withdraw(&mut self, now: Instant, price: u32) -> Option<u32> {
        self.advance(now);
        let price = if self.is_new { price.min(1) } else { price };
        self.balance = self.balance.checked_sub(u64::from(price) * TOKEN)?;
        Some(price)
    }

    /// Gives back the tokens that a retry has `paid`, as far as the cap allows.
    pub(crate) fn refund(&mut self, paid: u32) {
        let balance = self.balance.saturating_add(u64::from(paid) * TOKEN);
        self.balance = balance.min(self.cap());
    }

    /// The available tokens.
    pub(crate) fn balance(&mut self, now: Instant) -> f64 {
        self.advance(now);
        #[allow(
            clippy::cast_precision_loss,
            reason = "a gauge; amounts are far below 2^52"
        )]
        let balance = self.balance as f64 / TOKEN as f64;
        balance
    }

    /// The highest balance that is allowed now.
    fn cap(&self) -> u64 {
        if self.is_new {
            return self.settings.start;
        }
        // Counting one by one, no process reaches 2^64.
        let successes: u64 = self.successes.iter().sum();
        let earned = successes.saturating_mul(self.settings.deposit);
        earned.clamp(self.settings.lowest_cap, self.settings.highest_cap)
    }

    /// Forgets the successes that are too old at `now`, and then what is above the cap.
    fn advance(&mut self, now: Instant) {
        let Some((ends, slot)) = self.newest else {
            return;
        };
        if now < ends {
            return;
        }
        let width = self.width.as_nanos();
        let passed = now.saturating_duration_since(ends).as_nanos() / width + 1;
        if passed >= SLOTS as u128 {
            self.successes = [0; SLOTS];
            self.newest = None;
        } else {
            // Less than ten, so the casts are exact.
            let steps = passed as usize;
            for step in 1..=steps {
                self.successes[(slot + step) % SLOTS] = 0;
            }
            let ends = ends + self.width * steps as u32;
            self.newest = Some((ends, (slot + steps) % SLOTS));
        }
        self.balance = self.balance.min(self.cap());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: LedgerSettings = LedgerSettings {
        deposit: TOKEN / 5,
        start: 8 * TOKEN,
        lowest_cap: 3 * TOKEN,
        highest_cap: 10 * TOKEN,
        window: Duration::from_secs(10),
    };

    /// A ledger that has had its first deposit, and has no balance left.
    fn empty(now: Instant) -> Ledger {
        let mut ledger = Ledger::new(LedgerSettings {
            deposit: 0,
            ..SETTINGS
        });
        ledger.deposit(now);
        assert_eq!(ledger.withdraw(now, 3), Some(3));
        ledger.settings = SETTINGS;
        ledger
    }

    #[test]
    fn five_successes_buy_one_retry() {
        let now = Instant::now();
        let mut ledger = empty(now);
        for _ in 0..4 {
            ledger.deposit(now);
        }
        assert_eq!(ledger.withdraw(now, 1), None);
        ledger.deposit(now);
        assert_eq!(ledger.withdraw(now, 1), Some(1));
        assert_eq!(ledger.withdraw(now, 1), None);
    }

    #[test]
    fn until_the_first_deposit_a_retry_costs_1_at_most() {
        let now = Instant::now();
        let mut ledger = Ledger::new(SETTINGS);
        assert_eq!(ledger.withdraw(now, 0), Some(0), "free stays free");
        for retry in 0..8 {
            assert_eq!(ledger.withdraw(now, 1 + retry % 3), Some(1));
        }
        assert_eq!(ledger.withdraw(now, 2), None);
        (0..5).for_each(|_| ledger.deposit(now));
        assert_eq!(ledger.withdraw(now, 2), None, "the price as it was set");
        assert_eq!(ledger.withdraw(now, 1), Some(1));
    }

    #[test]
    fn the_first_deposit_lets_the_balance_fall_to_the_cap_whatever_the_start_was() {
        let now = Instant::now();
        let after = |start, lowest_cap, highest_cap| {
            let mut ledger = Ledger::new(LedgerSettings {
                start: start * TOKEN,
                lowest_cap: lowest_cap * TOKEN,
                highest_cap: highest_cap * TOKEN,
                ..SETTINGS
            });
            assert_eq!(ledger.balance(now), start as f64);
            ledger.deposit(now);
            ledger.balance(now)
        };
        assert_eq!(after(8, 3, 10), 3.0);
        assert_eq!(after(100, 3, 10), 3.0, "a start above the highest cap");
        assert_eq!(after(8, 8, 10), 8.0, "a start that the cap allows for");
        assert_eq!(after(2, 3, 10), 2.2, "a start below the cap");
        assert_eq!(after(0, 0, 10), 0.2);
        assert_eq!(after(5, 0, 0), 0.0);
    }

    #[test]
    fn a_refund_is_what_was_paid_before_and_after_the_first_deposit() {
        let now = Instant::now();
        let mut ledger = Ledger::new(SETTINGS);
        for _ in 0..8 {
            assert_eq!(ledger.withdraw(now, 2), Some(1));
        }
        ledger.refund(1);
        assert_eq!(ledger.balance(now), 1.0);
        ledger.deposit(now);
        assert_eq!(ledger.balance(now), 1.2);
        ledger.refund(1);
        assert_eq!(
            ledger.balance(now),
            2.2,
            "paid at the price of a new ledger"
        );
        (0..6).for_each(|_| ledger.refund(1));
        assert_eq!(ledger.balance(now), 3.0, "up to the cap");

        let mut ledger = Ledger::new(LedgerSettings {
            start: 0,
            ..SETTINGS
        });
        assert_eq!(ledger.withdraw(now, 0), Some(0));
        ledger.refund(0);
        assert_eq!(ledger.balance(now), 0.0);
    }

    #[test]
    fn a_ledger_is_new_however_long_no_call_succeeds_and_never_again_after() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let now = Instant::now();
        let mut ledger = Ledger::new(SETTINGS);
        assert_eq!(ledger.balance(now + year), 8.0);
        assert_eq!(ledger.withdraw(now + year, 2), Some(1));
        ledger.deposit(now + year);
        assert_eq!(ledger.balance(now + 2 * year), 3.0);
        assert_eq!(ledger.withdraw(now + 2 * year, 2), Some(2));
        ledger.refund(2);
        assert_eq!(ledger.balance(now + 2 * year), 3.0);
    }

    #[test]
    fn the_cap_follows_the_successes_of_the_window_within_its_bounds() {
        let now = Instant::now();
        let mut ledger = Ledger::new(SETTINGS);
        ledger.deposit(now);
        assert_eq!(ledger.balance(now), 3.0, "held up by the lower bound");
        for _ in 0..29 {
            ledger.deposit(now);
        }
        assert_eq!(ledger.balance(now), 6.0, "30 successes x 0.2");
        for _ in 0..10_000 {
            ledger.deposit(now);
        }
        assert_eq!(ledger.balance(now), 10.0, "held down by the upper bound");
        assert_eq!(ledger.balance(now + Duration::from_secs(9)), 10.0);
        assert_eq!(
            ledger.balance(now + Duration::from_secs(10)),
            3.0,
            "a quiet window saves nothing up"
        );
    }

    #[test]
    fn time_alone_earns_nothing_however_long_it_is() {
        let now = Instant::now();
        let mut ledger = empty(now);
        let year = now + Duration::from_secs(365 * 24 * 3600);
        assert_eq!(ledger.balance(year), 0.0);
        assert_eq!(ledger.withdraw(year, 1), None);
    }

    #[test]
    fn successes_leave_the_window_slot_by_slot() {
        let start = Instant::now();
        let mut ledger = Ledger::new(SETTINGS);
        for second in 0..10 {
            for _ in 0..5 {
                ledger.deposit(start + Duration::from_secs(second));
            }
        }
        // Ten slots of five successes each: a cap of 10. Each second without a success takes a
        // token off.
        assert_eq!(ledger.balance(start + Duration::from_millis(9_999)), 10.0);
        assert_eq!(ledger.balance(start + Duration::from_secs(11)), 8.0);
        assert_eq!(ledger.balance(start + Duration::from_secs(14)), 5.0);
    }

    #[test]
    fn retries_pass_ten_gates_that_are_closed_for_a_second_or_longer_after_a_success() {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        let mut ledger = Ledger::new(SETTINGS);
        assert!(!ledger.pass_gate(now, now + second - Duration::from_nanos(1)));
        assert!(!ledger.pass_gate(now, now - second));
        let at = |seconds: u32| now + seconds * second;
        for gate in 0..GATES as u32 {
            // A crowd of calls. Its last call gets its 429 just before the gate opens.
            let (closed, opens) = (at(10 * gate), at(10 * gate + 5));
            assert!(ledger.pass_gate(closed, opens));
            assert!(ledger.pass_gate(closed, opens));
            assert!(ledger.pass_gate(closed + 4 * second, opens + second));
        }
        assert!(!ledger.pass_gate(at(100), at(105)), "one more");
        assert!(!ledger.pass_gate(at(3600), at(3601)), "no success");
        ledger.deposit(at(3600));
        assert!(ledger.pass_gate(at(3600), at(3601)));
    }

    #[test]
    fn gates_of_several_servers_are_counted_one_by_one() {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        let mut ledger = Ledger::new(SETTINGS);
        let far = now + 20 * second;
        assert!(ledger.pass_gate(now, far));
        // While the first gate is closed, another server names a gate again and again.
        for gate in 1..GATES as u32 {
            let now = now + 3 * gate * second / 2;
            assert!(ledger.pass_gate(now, now + second), "{gate}");
            assert!(ledger.pass_gate(now, now + second), "the same gate");
            assert!(ledger.pass_gate(now, far), "the crowd at the first");
        }
        let late = now + 16 * second;
        assert!(!ledger.pass_gate(late, late + second));
        assert!(ledger.pass_gate(late, far + second));
        assert!(!ledger.pass_gate(late, far + 2 * second));
        ledger.deposit(late);
        assert!(ledger.pass_gate(late, late + second));
    }

    #[test]
    fn a_clock_that_stands_still_or_steps_back_does_no_harm() {
        let now = Instant::now() + Duration::from_secs(60);
        let mut ledger = Ledger::new(SETTINGS);
        ledger.deposit(now);
        ledger.deposit(now - Duration::from_secs(30));
        assert_eq!(ledger.balance(now - Duration::from_secs(60)), 3.0);
    }

    proptest! {
        /// Spent <= deposits + start, for any start, any ratio and any mix of events; and the
        /// balance is never above the cap.
        #[test]
        fn what_is_spent_was_deposited(
            deposit in 0..=TOKEN,
            start in 0..=20u64,
            events in proptest::collection::vec((0..5u8, 0..3_000u64), 1..400),
        ) {
            let start = start * TOKEN;
            let settings = LedgerSettings { deposit, start, ..SETTINGS };
            let mut ledger = Ledger::new(settings);
            let mut now = Instant::now();
            let (mut spent, mut deposits, mut is_new) = (0u64, start, true);
            let mut paid = Vec::new();
            for (event, pause) in events {
                now += Duration::from_millis(pause);
                match event {
                    0 => { ledger.deposit(now); deposits += deposit; is_new = false; }
                    1..=3 => if let Some(price) = ledger.withdraw(now, event.into()) {
                        prop_assert_eq!(price, if is_new { 1 } else { event.into() });
                        spent += u64::from(price) * TOKEN;
                        paid.push(price);
                    },
                    _ => if let Some(price) = paid.pop() {
                        let (before, price) = (ledger.balance, u64::from(price));
                        ledger.refund(price as u32);
                        spent -= price * TOKEN;
                        prop_assert!(ledger.balance >= before);
                        prop_assert!(ledger.balance <= before + price * TOKEN);
                    },
                }
                prop_assert!(spent <= deposits);
                prop_assert!(ledger.balance <= deposits - spent);
                let highest = if is_new { start } else { settings.highest_cap };
                prop_assert!(ledger.balance <= highest);
            }
        }
    }
}
