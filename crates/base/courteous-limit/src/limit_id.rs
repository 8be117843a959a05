use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
};

/// Names one limit of a [`TokenStore`](crate::TokenStore): what a cost is addressed to.
///
/// All clones of a handle name the same limit, and so do all the stores that a keyed one makes from one template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitId {
    store: NonZeroU64,
    index: u8,
}

/// Names one call, which a [`TokenStore`](crate::TokenStore) remembers until its true cost is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChargeId(NonZeroU64);

impl LimitId {
    /// How many limits one store can have.
    pub const MOST: usize = 4;

    /// The first limit of a new store. No other store of this process has the same.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let (store, index) = (unique(), 0);
        Self { store, index }
    }

    /// The limit of the same store that has this number, counted from 0.
    #[must_use]
    pub fn at(self, index: usize) -> Self {
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        Self { index, ..self }
    }

    /// The limit's number in its store, counted from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.index.into()
    }

    /// Whether both are limits of the same store, or of stores made from one template.
    #[must_use]
    pub fn is_beside(self, other: Self) -> bool {
        self.store == other.store
    }
}

impl ChargeId {
    /// An id that no other call of this process has.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self(unique())
    }
}

fn unique() -> NonZeroU64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    // 584 years at one in a nanosecond.
    NonZeroU64::new(next).unwrap_or(NonZeroU64::MAX)
}
