use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

use crate::ledger::Ledger;

/// A ledger that many calls write to at the same time.
///
/// In normal operation every call deposits, and nearly no deposit changes anything: the balance is
/// at its highest, and the window's slot has so many successes that one more does not count. The
/// time until which this holds is kept next to the ledger. Until then a deposit takes no lock and
/// writes nothing.
///
/// ```text
/// slot of the window    0 s                        1 s                        2 s
///                       |--------------------------|--------------------------|
/// 100 calls succeed     50 write | 50 only read    50 write | 50 only read
///                                  `sated_until`: 1 s         `sated_until`: 2 s
/// ```
///
/// In this example a deposit is 0.2 and the cap 10. The first 50 successes of a slot are all that
/// can count: 50 x 0.2 = 10. If a retry then pays 2 tokens, `sated_until` is 0 at once, and the
/// next 10 successes write again.
///
/// The invariant: what a deposit that takes no lock leaves out would have changed nothing.
///
/// Only the holder of the lock writes `sated_until`, from the state that the holder leaves. A
/// withdrawal revokes it before other threads can see the lower balance. A deposit that reads a
/// value that is just being revoked counts as before the withdrawal, and changed nothing then.
pub(crate) struct Account {
    ledger: Mutex<Ledger>,
    /// In nanoseconds since the epoch; zero if the next deposit counts.
    sated_until: AtomicU64,
    epoch: Instant,
}

impl Account {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger: Mutex::new(ledger),
            sated_until: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    /// A new ledger with the same settings.
    pub(crate) fn fresh(&self) -> Ledger {
        self.with(|ledger| ledger.fresh())
    }

    /// Deposits for a successful call: what the terms say, or `amount` millionths of a token if that is more.
    pub(crate) fn deposit(&self, now: Instant, amount: u64) {
        // If a tick is before another, its instant is, too. So the ends of the clock and of the
        // counter do not matter.
        if self.tick(now) >= self.sated_until.load(Ordering::Relaxed) {
            self.with(|ledger| {
                let amount = amount.max(ledger.usual_deposit());
                ledger.deposit_amount(now, amount);
            });
        }
    }

    /// Whether a retry that waits for a gate, which opens at `opens_at`, costs less.
    pub(crate) fn pass_gate(&self, now: Instant, opens_at: Instant) -> bool {
        self.with(|ledger| ledger.pass_gate(now, opens_at))
    }

    /// Takes `price` tokens, but at most 1 before the first deposit. Returns what it took, or
    /// `None` if there are too few tokens.
    pub(crate) fn withdraw(&self, now: Instant, price: u32) -> Option<u32> {
        self.with(|ledger| ledger.withdraw(now, price))
    }

    /// Gives back the tokens that a retry has `paid`, as far as the cap allows.
    pub(crate) fn refund(&self, paid: u32) {
        self.with(|ledger| ledger.refund(paid));
    }

    /// The available tokens.
    pub(crate) fn balance(&self, now: Instant) -> f64 {
        self.with(|ledger| ledger.balance(now))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.lock();
        let result = work(&mut ledger);
        let until = ledger.sated_until().map_or(0, |until| self.tick(until));
        self.sated_until.store(until, Ordering::Relaxed);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{LedgerSettings, TOKEN};

    #[test]
    fn a_deposit_that_changes_nothing_is_not_written_down() {
        let account = Account::new(Ledger::new(settings(TOKEN / 5, 10)));
        let ledger = || format!("{:?}", account.lock());
        let now = Instant::now();
        let deposit_is_written_down = |now| {
            let before = ledger();
            account.deposit(now, 0);
            before != ledger()
        };
        (0..50).for_each(|_| assert!(deposit_is_written_down(now)));
        assert!(!deposit_is_written_down(now));
        assert!(!deposit_is_written_down(now + Duration::from_millis(999)));
        assert!(deposit_is_written_down(now + Duration::from_secs(1)));
        (0..49).for_each(|_| account.deposit(now, 0));
        assert!(!deposit_is_written_down(now));
        assert_eq!(account.withdraw(now, 1), Some(1));
        assert!(deposit_is_written_down(now));
    }

    fn settings(deposit: u64, highest: u64) -> LedgerSettings {
        LedgerSettings {
            deposit,
            start: 8 * TOKEN,
            lowest_cap: 3 * TOKEN,
            highest_cap: highest * TOKEN,
            window: Duration::from_secs(10),
        }
    }

    proptest! {
        /// Whatever happens, and even if the clock steps back: the result is as if each deposit had
        /// been written down.
        #[test]
        fn it_tells_what_its_ledger_alone_would(
            deposit in prop_oneof![Just(0), Just(TOKEN / 5), 0..=TOKEN],
            highest in 3..12u64,
            // Many runs have no success for a while, or none at all.
            quiet in 0..40usize,
            events in proptest::collection::vec((0..7u8, 0..40u8, -500..3_000i64), 1..300),
        ) {
            let settings = settings(deposit, highest);
            let (account, mut ledger) = (Account::new(Ledger::new(settings)), Ledger::new(settings));
            let mut now = Instant::now() + Duration::from_secs(3600);
            for (index, (event, times, pause)) in events.into_iter().enumerate() {
                let event = if event <= 2 && index < quiet { 3 + event } else { event };
                // Most events come close together.
                let pause = if times % 2 == 0 { pause / 20 } else { pause };
                now = match u64::try_from(pause) {
                    Ok(pause) => now + Duration::from_millis(pause),
                    Err(_) => now - Duration::from_millis(pause.unsigned_abs()),
                };
                match event {
                    0..=2 => for _ in 0..times {
                        account.deposit(now, 0);
                        ledger.deposit(now);
                    },
                    5 => {
                        let opens_at = now + Duration::from_millis(1_500);
                        prop_assert_eq!(account.pass_gate(now, opens_at), ledger.pass_gate(now, opens_at));
                    }
                    3 | 4 => {
                        let price = u32::from(event) - 2;
                        prop_assert_eq!(account.withdraw(now, price), ledger.withdraw(now, price));
                    }
                    _ => {
                        account.refund(1);
                        ledger.refund(1);
                    }
                }
                prop_assert_eq!(account.balance(now), ledger.balance(now));
            }
        }
    }
}
