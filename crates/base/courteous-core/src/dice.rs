use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::random_bytes;

/// Where a layer's jitter comes from: the thread's own generator, or a seeded one for reproducible runs.
///
/// Good for spreading a crowd, and for nothing that must be unique or secret: that is
/// [`random_bytes`](crate::random_bytes)' task.
///
/// # Sharing
///
/// Clones of seeded dice draw on one sequence. Dice without a seed share nothing. They mix fresh bytes of the operating system
/// into each [`roll`](Self::roll), so that forked processes do not wait for the same times. Where it has none to give, each
/// thread rolls on with what it has.
///
/// ```
/// use courteous_core::Dice;
///
/// let [one, two] = [Dice::seeded(7), Dice::seeded(7)].map(|dice| dice.roll());
/// assert_eq!(one, two);
/// ```
#[derive(Clone, Default)]
pub struct Dice {
    seeded: Option<Arc<AtomicU64>>,
}

thread_local! {
    /// The state of the thread's own generator.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

impl Dice {
    /// The generator of the thread that rolls.
    #[must_use]
    pub const fn new() -> Self {
        Self { seeded: None }
    }

    /// The same numbers for the same `seed`, in the order of the rolls. For tests and simulations.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            seeded: Some(Arc::new(AtomicU64::new(seed))),
        }
    }

    /// 64 random bits.
    #[must_use]
    pub fn roll(&self) -> u64 {
        self.stir();
        self.next()
    }

    /// Returns what rolls for a crowd: as [`roll`](Self::roll), with one draw from the operating system for all.
    pub fn rolls(&self) -> impl Fn() -> u64 + use<'_> {
        self.stir();
        || self.next()
    }

    /// A random number from 0 to below 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        Self::fraction_of(self.roll())
    }

    /// The number from 0 to below 1 that belongs to a roll.
    #[must_use]
    pub const fn fraction_of(roll: u64) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        (roll >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
    }

    /// Mixes fresh bytes into the thread's own generator, as it may be a copy.
    fn stir(&self) {
        if self.seeded.is_none()
            && let Ok(fresh) = random_bytes()
        {
            STATE.set(STATE.get() ^ u64::from_ne_bytes(fresh));
        }
    }

    /// SplitMix64.
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = match &self.seeded {
            Some(state) => state.fetch_add(STEP, Relaxed),
            None => STATE.replace(STATE.get().wrapping_add(STEP)),
        };
        let mut bits = state.wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dice")
            .field("seeded", &self.seeded.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_seeded_dice_draw_on_one_sequence() {
        let dice = Dice::seeded(7);
        let roll = dice.rolls();
        let rolls = [(); 4].map(|()| roll());
        let dice = Dice::seeded(7);
        let other = dice.clone();
        assert_eq!(
            rolls,
            [dice.roll(), other.roll(), dice.roll(), other.roll()]
        );
        assert_ne!(rolls[0], rolls[1]);
    }

    #[test]
    fn a_copied_state_of_the_thread_does_not_roll_the_same_again() {
        let dice = Dice::new();
        let copy = STATE.get();
        let (one, crowd) = (dice.roll(), dice.rolls()());
        STATE.set(copy);
        assert_ne!(dice.roll(), one);
        STATE.set(copy);
        dice.stir();
        assert_ne!(dice.rolls()(), crowd);
    }

    #[test]
    fn fractions_are_spread_from_zero_to_below_one() {
        let dice = Dice::seeded(7);
        let fractions = (0..10_000).map(|_| dice.fraction());
        let mean = fractions.sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
        assert_eq!(Dice::fraction_of(0), 0.0);
        let highest = Dice::fraction_of(u64::MAX);
        assert!(highest < 1.0 && highest > 0.999_999, "{highest}");
        assert!((0.0..1.0).contains(&Dice::new().fraction()));
    }
}
