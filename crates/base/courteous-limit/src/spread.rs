use std::time::Duration;

use courteous_core::Dice;
use tokio::time::Instant;

use crate::instants::later;

/// How far a closed bucket, or a used-up quota, spreads the instants at which calls go on: each
/// call draws its own, up to a most after the opening.
#[derive(Clone, Debug)]
pub struct Spread {
    most: Duration,
    dice: Dice,
}

impl Spread {
    /// Spreads calls over `most`, by the thread's own generator. Zero does not spread them.
    #[must_use]
    pub const fn new(most: Duration) -> Self {
        Self {
            most,
            dice: Dice::new(),
        }
    }

    /// Spreads calls over `most` from now on.
    pub const fn set_most(&mut self, most: Duration) {
        self.most = most;
    }

    /// Draws by `dice` from now on.
    pub fn set_dice(&mut self, dice: Dice) {
        self.dice = dice;
    }

    /// Draws for one call.
    #[must_use]
    pub fn draw(&self) -> Duration {
        self.most.mul_f64(self.dice.fraction())
    }

    /// Draws when one call goes on after `opens`.
    #[must_use]
    pub fn after(&self, opens: Instant) -> Instant {
        later(opens, self.draw())
    }

    /// Returns what draws for a crowd: as [`after`](Self::after), at less cost for each call.
    pub fn crowd_after(&self, opens: Instant) -> impl Fn() -> Instant + use<'_> {
        let roll = self.dice.rolls();
        move || later(opens, self.most.mul_f64(Dice::fraction_of(roll())))
    }
}

impl Default for Spread {
    /// Spreads calls over a second.
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}
