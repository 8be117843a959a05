use crate::ChargeId;

/// Where a [`TokenStore`](crate::TokenStore) is told what a call really cost.
pub trait Settler: Send + Sync {
    /// Counts the call with this `charge` as `actual` tokens of the limit with number `limit`, instead of what was counted
    /// until now. May be called again, with a newer number.
    ///
    /// `None` if the call was not sent, or the store has no such limit: then nothing changes.
    fn settle(&self, charge: ChargeId, limit: usize, actual: u32) -> Option<Settled>;

    /// Counts the call as `tokens` of the limit, unless it counts as more already. Else as
    /// [`settle`](Self::settle).
    fn settle_at_least(&self, charge: ChargeId, limit: usize, tokens: u32) -> Option<Settled>;

    /// Forgets the call: no more will be told. What was counted last stands.
    fn close(&self, charge: ChargeId);
}

/// What a call's true cost changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    charged: u32,
    given_back: u32,
    forgotten: u32,
}

impl Settled {
    /// The call cost more: `charged` tokens are taken on top, and `forgotten` are not, as the debt would be too large.
    #[must_use]
    pub const fn more(charged: u32, forgotten: u32) -> Self {
        Self {
            charged,
            given_back: 0,
            forgotten,
        }
    }

    /// The call cost less: `given_back` tokens are counted no longer.
    #[must_use]
    pub const fn less(given_back: u32) -> Self {
        Self {
            charged: 0,
            given_back,
            forgotten: 0,
        }
    }

    /// How many tokens were taken on top. The limit may owe them now.
    #[must_use]
    pub const fn charged(&self) -> u32 {
        self.charged
    }

    /// How many tokens are counted no longer. Those that a full bucket could not have held are of no use to later calls.
    #[must_use]
    pub const fn given_back(&self) -> u32 {
        self.given_back
    }

    /// How many tokens the call cost that are not charged, as the limit would owe too much.
    #[must_use]
    pub const fn forgotten(&self) -> u32 {
        self.forgotten
    }
}
