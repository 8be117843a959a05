use courteous_limit::{ChargeId, LimitId};

use crate::{Ask, Settle, TokenStore};

/// What one request costs, in tokens. It is an extension of the request, and takes precedence over
/// the layer's own [`with_cost`](crate::ThrottleLayer::with_cost).
///
/// Without either, a request costs one token in each limit. A request that costs more than a bucket
/// can hold is rejected at once. A request with a cost of zero needs no token, but it still waits
/// behind others, and at a closed bucket.
///
/// # Address
///
/// A cost that is [addressed](Self::on) to a limit counts in that limit alone. Other throttles of
/// the stack, and other limits of the same bucket, ignore it. A cost without an address counts in
/// the first limit of *every* throttle that the request passes.
///
/// ```
/// use courteous_throttle::{Bucket, Cost, Rate};
/// use http::Request;
///
/// # let second = |tokens| Rate::per_second(tokens);
/// let [requests, input, output] = Bucket::joint([second(10.0)?, second(30_000.0)?, second(8_000.0)?]);
/// let mut request = Request::new(());
/// let cost = Cost::new(250).on(&input).and(Cost::new(60).on(&output));
/// request.extensions_mut().insert(cost);
/// # let _ = requests;
/// # Ok::<_, courteous_throttle::InvalidRate>(())
/// ```
///
/// The response to a request with an addressed cost carries a [`Settle`]. It tells the throttle
/// what the request really cost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cost {
    first: Part,
    second: Option<Part>,
    more: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Part {
    tokens: u32,
    limit: Option<LimitId>,
}

impl Cost {
    /// A cost of `tokens`, in the first limit of each throttle.
    #[must_use]
    pub const fn new(tokens: u32) -> Self {
        Self {
            first: Part {
                tokens,
                limit: None,
            },
            second: None,
            more: Vec::new(),
        }
    }

    /// Addresses the cost to `limit`: the handle of a [`Bucket`](crate::Bucket), of
    /// [`Keyed`](crate::Keyed) buckets, or of their template. The last two address it for every
    /// key.
    ///
    /// The last address counts. Of several costs [together](Self::and), those that have an address
    /// keep it.
    #[must_use]
    pub fn on(mut self, limit: impl Into<LimitId>) -> Self {
        let limit = limit.into();
        if self.second.is_none() {
            self.first.limit = None;
        }
        let parts = std::iter::once(&mut self.first).chain(&mut self.second);
        for part in parts.chain(&mut self.more) {
            part.limit.get_or_insert(limit);
        }
        self
    }

    /// Joins this cost with another one that has another address. If both have the same address,
    /// `other` counts. Up to two costs are kept without an allocation.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let parts = std::iter::once(other.first).chain(other.second);
        for part in parts.chain(other.more) {
            match self.second {
                None => self.second = Some(part),
                Some(_) => self.more.push(part),
            }
        }
        self
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.first)
            .chain(&self.second)
            .chain(&self.more)
    }

    /// Whether a part of the cost has no address.
    pub(crate) fn is_for_all(&self) -> bool {
        self.parts().any(|part| part.limit.is_none())
    }

    /// Asks `store` for this cost. If the cost was addressed to the store, also returns what can
    /// settle it.
    #[cold]
    #[inline(never)]
    pub(crate) fn price(&self, ask: &mut Ask, store: &impl TokenStore) -> Option<Settle> {
        for part in self.parts().filter(|part| part.limit.is_none()) {
            *ask = ask.with_cost(0, part.tokens);
        }
        let id = store.limit_id()?;
        let mut first = None;
        for part in self.parts() {
            if let Some(limit) = part.limit.filter(|limit| limit.is_beside(id)) {
                *ask = ask.with_cost(limit.index(), part.tokens);
                first.get_or_insert(limit);
            }
        }
        let limit = first?;
        let settler = store.settler()?;
        let charge = ChargeId::new();
        *ask = ask.with_charge(charge);
        Some(Settle::new(settler, limit, charge))
    }
}
