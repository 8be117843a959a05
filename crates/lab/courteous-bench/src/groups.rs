//! The groups of measurements, one group per file.

pub(crate) mod client;
pub(crate) mod failing;
pub(crate) mod instructions;
pub(crate) mod keys;
pub(crate) mod layers;
mod origins;
mod primitives;
pub(crate) mod queues;
pub(crate) mod threads;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Quick,
    Full,
}

impl Effort {
    /// The number for this effort.
    pub(crate) const fn of(self, quick: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}
