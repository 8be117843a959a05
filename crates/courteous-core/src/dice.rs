use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Where a layer's random numbers come from: the thread's own generator, or a seeded one for reproducible runs.
///
/// # Sharing
///
/// Clones of seeded dice draw on one sequence, behind one lock. Dice without a seed share nothing, and cost nothing.
///
/// ```
/// use courteous_core::Dice;
/// use rand::RngExt;
///
/// let [one, two] = [Dice::seeded(7), Dice::seeded(7)].map(|dice| dice.roll(|rng| rng.random::<u64>()));
/// assert_eq!(one, two);
/// ```
#[derive(Clone, Default)]
pub struct Dice {
    seeded: Option<Arc<Mutex<SmallRng>>>,
}

impl Dice {
    /// The generator of the thread that rolls.
    #[must_use]
    pub const fn new() -> Self {
        Self { seeded: None }
    }

    /// The same numbers for the same `seed`, in the order of the rolls. For tests and simulations: who knows the seed knows
    /// the numbers.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            seeded: Some(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)))),
        }
    }

    /// Draws with the generator.
    pub fn roll<T>(&self, draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
        match &self.seeded {
            Some(seeded) => draw(&mut *seeded.lock().unwrap_or_else(PoisonError::into_inner)),
            None => draw(&mut rand::rng()),
        }
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dice")
            .field("seeded", &self.seeded.is_some())
            .finish()
    }
}
