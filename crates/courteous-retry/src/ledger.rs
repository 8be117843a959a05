use std::time::Duration;

use tokio::time::Instant;

/// One token, in the unit of account.
pub(crate) const TOKEN: u64 = 1_000_000;

/// The window of successes is counted in so many equal parts.
const SLOTS: usize = 10;

/// The longest that a slot is: longer than a process lives, and no instant so far off is out of the clock's reach.
const LONGEST_SLOT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A gate that opens sooner does not hold a crowd up.
const SHORTEST_GATE: Duration = Duration::from_secs(1);

/// At so many gates in a row retries cost less without a success. Many small clients that share a quota seldom see more.
const GATES: usize = 10;

/// The accounts of a budget: told the time, and never looping over the time that has passed.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    terms: Terms,
    balance: u64,
    successes: [u64; SLOTS],
    /// How long a slot is.
    width: Duration,
    /// When the newest slot ends, and which one it is. `None` before the first success.
    newest: Option<(Instant, usize)>,
    /// When the gates open at which retries have cost less since the last success.
    gates: Vec<Instant>,
}

/// What does not change: amounts in millionths of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) deposit: u64,
    pub(crate) start: u64,
    pub(crate) lowest_cap: u64,
    pub(crate) highest_cap: u64,
    pub(crate) window: Duration,
}

impl Ledger {
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            terms,
            balance: terms.start,
            successes: [0; SLOTS],
            width: (terms.window / SLOTS as u32).clamp(Duration::from_nanos(1), LONGEST_SLOT),
            newest: None,
            gates: Vec::new(),
        }
    }

    /// On the same terms, as new.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(self.terms)
    }

    /// Whether a retry that waits for a gate, which opens at `opens_at`, costs less.
    ///
    /// The crowd that waits at one gate does, if the gate is closed for long enough to hold it up. Those that are told of one do not
    /// all hear of it at once: times that are at most a second apart are one gate. A server can name any number of gates, and each
    /// call can wait for several: so after a few gates, nothing costs less until a call has succeeded.
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

    /// A call has succeeded.
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.advance(now);
        self.gates.clear();
        let (_, slot) = *self.newest.get_or_insert_with(|| (now + self.width, 0));
        self.successes[slot] += 1;
        self.balance = self
            .balance
            .saturating_add(self.terms.deposit)
            .min(self.cap());
    }

    /// Until when a deposit would change nothing: as long as its slot has seen all the successes that can count, and the
    /// balance is as high as it may ever be.
    pub(crate) fn sated_until(&self) -> Option<Instant> {
        let (ends, slot) = self.newest?;
        let enough = self.successes[slot].saturating_mul(self.terms.deposit);
        let highest = self.terms.highest_cap;
        (self.gates.is_empty() && self.balance == highest && enough >= highest).then_some(ends)
    }

    /// Takes `price` tokens, or none.
    pub(crate) fn withdraw(&mut self, now: Instant, price: u32) -> bool {
        self.advance(now);
        match self.balance.checked_sub(u64::from(price) * TOKEN) {
            Some(rest) => {
                self.balance = rest;
                true
            }
            None => false,
        }
    }

    /// Gives `price` tokens back, as far as the cap allows.
    pub(crate) fn refund(&mut self, price: u32) {
        let balance = self.balance.saturating_add(u64::from(price) * TOKEN);
        self.balance = balance.min(self.cap());
    }

    /// The tokens that are there.
    pub(crate) fn balance(&mut self, now: Instant) -> f64 {
        self.advance(now);
        #[allow(
            clippy::cast_precision_loss,
            reason = "a gauge; amounts are far below 2^52"
        )]
        let balance = self.balance as f64 / TOKEN as f64;
        balance
    }

    fn cap(&self) -> u64 {
        // One by one, no process counts to 2^64.
        let successes: u64 = self.successes.iter().sum();
        let earned = successes.saturating_mul(self.terms.deposit);
        earned.clamp(self.terms.lowest_cap, self.terms.highest_cap)
    }

    /// Forgets the successes that are too old at `now`, and what is above the cap then.
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

    const TERMS: Terms = Terms {
        deposit: TOKEN / 5,
        start: 3 * TOKEN,
        lowest_cap: 3 * TOKEN,
        highest_cap: 10 * TOKEN,
        window: Duration::from_secs(10),
    };

    #[test]
    fn five_successes_buy_one_retry() {
        let now = Instant::now();
        let mut ledger = Ledger::new(TERMS);
        assert!(ledger.withdraw(now, 3));
        for _ in 0..4 {
            ledger.deposit(now);
        }
        assert!(!ledger.withdraw(now, 1));
        ledger.deposit(now);
        assert!(ledger.withdraw(now, 1));
        assert!(!ledger.withdraw(now, 1));
    }

    #[test]
    fn the_cap_follows_the_successes_of_the_window_within_its_bounds() {
        let now = Instant::now();
        let mut ledger = Ledger::new(TERMS);
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
        let mut ledger = Ledger::new(TERMS);
        ledger.deposit(now);
        assert!(ledger.withdraw(now, 3));
        let year = now + Duration::from_secs(365 * 24 * 3600);
        assert_eq!(ledger.balance(year), 0.0);
        assert!(!ledger.withdraw(year, 1));
    }

    #[test]
    fn successes_leave_the_window_slot_by_slot() {
        let start = Instant::now();
        let mut ledger = Ledger::new(TERMS);
        for second in 0..10 {
            for _ in 0..5 {
                ledger.deposit(start + Duration::from_secs(second));
            }
        }
        // Ten slots of five successes each: a cap of 10. Each second without one takes a token off.
        assert_eq!(ledger.balance(start + Duration::from_millis(9_999)), 10.0);
        assert_eq!(ledger.balance(start + Duration::from_secs(11)), 8.0);
        assert_eq!(ledger.balance(start + Duration::from_secs(14)), 5.0);
    }

    #[test]
    fn retries_pass_ten_gates_that_are_closed_for_a_second_or_longer_after_a_success() {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        let mut ledger = Ledger::new(TERMS);
        assert!(!ledger.pass_gate(now, now + second - Duration::from_nanos(1)));
        assert!(!ledger.pass_gate(now, now - second));
        let at = |seconds: u32| now + seconds * second;
        for gate in 0..GATES as u32 {
            // A crowd. Its last call is refused just before the gate opens.
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
        let mut ledger = Ledger::new(TERMS);
        let far = now + 20 * second;
        assert!(ledger.pass_gate(now, far));
        // While the first is closed, another server names a gate again and again.
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
        let mut ledger = Ledger::new(TERMS);
        ledger.deposit(now);
        ledger.deposit(now - Duration::from_secs(30));
        assert_eq!(ledger.balance(now - Duration::from_secs(60)), 3.0);
    }

    proptest! {
        /// Spent <= deposits + start, for any ratio and any mix of what happens.
        #[test]
        fn what_is_spent_was_deposited(
            deposit in 0..=TOKEN,
            events in proptest::collection::vec((0..4u8, 0..3_000u64), 1..400),
        ) {
            let terms = Terms { deposit, ..TERMS };
            let mut ledger = Ledger::new(terms);
            let mut now = Instant::now();
            let (mut spent, mut deposits) = (0u64, terms.start);
            let mut paid = Vec::new();
            for (event, pause) in events {
                now += Duration::from_millis(pause);
                match event {
                    0 => { ledger.deposit(now); deposits += deposit; }
                    1 | 2 => if ledger.withdraw(now, u32::from(event)) {
                        spent += u64::from(event) * TOKEN;
                        paid.push(u32::from(event));
                    },
                    _ => if let Some(price) = paid.pop() {
                        ledger.refund(price);
                        spent -= u64::from(price) * TOKEN;
                    },
                }
                prop_assert!(spent <= deposits);
                prop_assert!(ledger.balance <= terms.highest_cap);
            }
        }
    }
}
