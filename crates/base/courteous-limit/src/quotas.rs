mod known;
mod pace;
mod recent;

use std::time::Duration;

use courteous_core::Rejected;
use tokio::time::Instant;

use self::known::KnownQuotas;
pub use self::pace::Pace;
use crate::{
    Ask,
    spread::Spread,
    target::{QuotaName, Target},
};

/// What a server has said of the quotas that it names, and which requests count against which.
///
/// A store of tokens has one of these beside each bucket. It is told the time.
///
/// ```text
/// GET /search/issues --(the last answer named)--> "search": used up until 10:01
/// GET /repos/a       --(the last answer named)--> "core":   4,999 left until 11:00
/// GET /repos/b       --(no answer yet)          > unknown:  held up by no quota that a good answer told of
/// ```
///
/// A request is held up only by a quota that its method and path are known to count against, from the last answer to
/// them. What is unknown goes out: else one resource's quota would hold up another's. But a *refusal* holds up what is
/// unknown, too: the server has shown that it is serious, and only a request that is known to count elsewhere is none of
/// its business.
///
/// At most 1,000 targets are known and 1,000 quotas, and of each target up to four quotas. The least recent makes room.
#[derive(Debug, Default)]
pub struct Quotas(
    /// `None` until a server names one: there may be many stores, and few servers name any.
    Option<Box<KnownQuotas>>,
);

/// What a call finds at the quotas that it counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a store must know what to do with each"
)]
pub enum Admission {
    /// Nothing holds it up. `paced` says whether it was counted by a quota that is spread over its time: then it must be
    /// [taken back](Quotas::unspend) if the call is not sent.
    Free {
        /// Whether it was counted.
        paced: bool,
    },
    /// It has to wait. It [counts as waiting](Quotas::waiting) until it [asks again](Quotas::readmit) or
    /// [leaves](Quotas::leave).
    Held {
        /// When it asks again.
        until: Instant,
        /// Whether it was counted.
        paced: bool,
    },
    /// It must not wait.
    Rejected(Rejected),
}

/// What a response said of one quota that it names.
#[derive(Clone, Copy, Debug)]
pub struct ToldQuota {
    name: QuotaName,
    state: QuotaState,
}

#[derive(Clone, Copy, Debug)]
enum QuotaState {
    Named,
    Left { remaining: u64, reset: Duration },
    UsedUp { opens: Instant },
    Refused { opens: Instant },
}

impl ToldQuota {
    /// The request counts against it, and that is all there is to know.
    #[must_use]
    pub const fn named(name: QuotaName) -> Self {
        Self {
            name,
            state: QuotaState::Named,
        }
    }

    /// `remaining` more requests within `reset` are to be spread over that time.
    #[must_use]
    pub const fn left(name: QuotaName, remaining: u64, reset: Duration) -> Self {
        let state = QuotaState::Left { remaining, reset };
        Self { name, state }
    }

    /// It is used up, and opens at `opens`. The response was no refusal.
    #[must_use]
    pub const fn used_up(name: QuotaName, opens: Instant) -> Self {
        let state = QuotaState::UsedUp { opens };
        Self { name, state }
    }

    /// It is used up, the request was refused for it, and it opens at `opens`.
    #[must_use]
    pub const fn refused(name: QuotaName, opens: Instant) -> Self {
        let state = QuotaState::Refused { opens };
        Self { name, state }
    }

    const fn is_used_up(&self) -> bool {
        matches!(
            self.state,
            QuotaState::UsedUp { .. } | QuotaState::Refused { .. }
        )
    }
}

impl Quotas {
    /// Nothing is known, and nothing allocated.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether no server has named a quota yet.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.0.is_none()
    }

    /// Takes note of what a response to a request for `target` said. Nothing changes if that is
    /// nothing.
    ///
    /// Of more than four quotas, those that are used up count first.
    pub fn hear(&mut self, target: Target, told: &[ToldQuota], now: Instant) {
        if told.is_empty() {
            return;
        }
        let known = self.0.get_or_insert_with(|| Box::new(KnownQuotas::new()));
        known.settle(now);
        known.hear(target, told, now);
    }

    /// Lets the time pass.
    #[inline]
    pub fn settle(&mut self, now: Instant) {
        if let Some(known) = &mut self.0 {
            known.settle(now);
        }
    }

    /// Whether nothing was held up when the time last [passed](Self::settle).
    #[must_use]
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.0.as_ref().is_none_or(|known| known.is_quiet())
    }

    /// Until when a request for `target` must not be sent, as a quota is used up. A request without
    /// a target is unknown.
    #[must_use]
    #[inline]
    pub fn closed_until(&self, target: Option<Target>, now: Instant) -> Option<Instant> {
        self.0.as_ref()?.closed_until(target, now)
    }

    /// When the last of the used-up quotas opens. Looks at each quota, unless all is
    /// [quiet](Self::is_quiet).
    #[must_use]
    pub fn used_up_until(&self, now: Instant) -> Option<Instant> {
        self.0.as_ref()?.used_up_until(now)
    }

    /// Lets a call in that comes to the store, where `waiting` others are in the queue. `spread`
    /// draws what a call adds to the opening of a used-up quota.
    ///
    /// At a used-up quota, a call with a retry outside is rejected, as at a closed bucket. Others
    /// wait, if their time and the queue allow it.
    #[inline]
    pub fn admit(&mut self, ask: &Ask, waiting: usize, spread: &Spread, now: Instant) -> Admission {
        match &mut self.0 {
            None => Admission::Free { paced: false },
            Some(known) => known.admit(ask, waiting, spread, now),
        }
    }

    /// As [`admit`](Self::admit), for a call that was let in before: it has [left](Self::leave) its
    /// wait, or its turn has come in the queue. Only used-up quotas hold it up now, and no queue is
    /// too long for it.
    #[inline]
    pub fn readmit(&mut self, ask: &Ask, spread: &Spread, now: Instant) -> Admission {
        match &mut self.0 {
            None => Admission::Free { paced: false },
            Some(known) => known.readmit(ask, spread, now),
        }
    }

    /// Takes back that a call was counted, as it is not sent.
    #[inline]
    pub fn unspend(&mut self, target: Option<Target>, cost: u32) {
        if let Some(known) = &mut self.0 {
            known.unspend(target, cost);
        }
    }

    /// How many calls wait because of a quota.
    #[must_use]
    #[inline]
    pub fn waiting(&self) -> usize {
        self.0.as_ref().map_or(0, |known| known.waiting())
    }

    /// A call that was [held](Admission::Held) waits no longer.
    pub fn leave(&mut self) {
        if let Some(known) = &mut self.0 {
            known.leave();
        }
    }
}

#[cfg(test)]
mod tests;
