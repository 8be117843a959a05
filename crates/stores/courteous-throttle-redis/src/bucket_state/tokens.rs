use courteous_core::Rate;
use courteous_limit::earliest;
use tokio::time::Instant;

use super::{
    closing::Closing,
    leased::{LeasedSlots, SetAside},
    local::Local,
};
use crate::{outage::Outage, script::Reply};

/// Where the tokens come from: the slots that Redis leased to this worker, or this worker's own
/// share while it stands alone. And until when none may be used, as a server asked for a pause.
#[derive(Debug)]
pub(crate) struct Tokens {
    outage: Outage,
    /// The tokens that are available while this worker stands alone.
    local: Option<Local>,
    leased: LeasedSlots,
    closing: Closing,
}

/// The tokens that a waiter was granted. It gives them back if it does not use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Slots, and how many times the bucket had been closed when they were set aside.
    Slots(SetAside, u32),
    /// Tokens from this worker's own share.
    Local(u32),
    /// Nothing is limited while this worker stands alone, or the request costs nothing.
    Free,
}

impl Tokens {
    pub(super) fn new(rate: Rate, outage: Outage, now: Instant) -> Self {
        Self {
            outage,
            local: local(rate, outage, now),
            leased: LeasedSlots::default(),
            closing: Closing::default(),
        }
    }

    /// Goes on with another rate, or another choice for an outage. An own share starts empty.
    pub(super) fn set(&mut self, rate: Rate, outage: Outage, now: Instant) {
        self.outage = outage;
        self.local = local(rate, outage, now);
    }

    pub(crate) const fn outage(&self) -> Outage {
        self.outage
    }

    pub(crate) const fn leased(&self) -> &LeasedSlots {
        &self.leased
    }

    /// When the bucket opens. `None` if it is open.
    pub(super) const fn closed_until(&self) -> Option<Instant> {
        self.closing.until()
    }

    /// Lets the time pass.
    pub(super) fn settle(&mut self, now: Instant) {
        self.closing.settle(now);
        self.leased.purge(now);
    }

    /// Whether a new bucket would have the same tokens.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.closing.until().is_none()
            && self.leased.is_empty()
            && self.local.is_none_or(|local| local.is_full(now))
    }

    /// Closes the bucket. Slots that open before `opens` are void. Returns whether that made a
    /// difference.
    pub(super) fn close(&mut self, opens: Instant, now: Instant) -> bool {
        let later = self.closing.close(opens, now);
        if later {
            self.leased.void_before(opens);
            if let Some(local) = &mut self.local {
                local.hold(opens);
            }
        }
        later
    }

    /// Adds the slots of an answer: see [`LeasedSlots::add`].
    pub(crate) fn lease(
        &mut self,
        reply: &Reply,
        need: u32,
        before: Instant,
        received: Instant,
    ) -> u32 {
        self.leased.add(reply, need, before, received)
    }

    /// Sets leased slots aside for a request. If there are none, returns when there will be some, if
    /// that is known.
    pub(super) fn set_aside(&mut self, cost: u32, now: Instant) -> Result<Grant, Option<Instant>> {
        if cost == 0 {
            // Such a request needs no slot, so it waits for no other.
            return Ok(Grant::Free);
        }
        match self.leased.take(cost, now) {
            Some(slots) => Ok(Grant::Slots(slots, self.closing.count())),
            None => Err(self.leased.opens_at(cost)),
        }
    }

    /// Does the same while this worker stands alone. Leased slots open at `at`, if there are any.
    pub(super) fn set_aside_alone(
        &mut self,
        cost: u32,
        at: Option<Instant>,
        now: Instant,
    ) -> Result<Grant, Option<Instant>> {
        match (self.outage, &mut self.local) {
            (Outage::Open, _) => Ok(Grant::Free),
            (Outage::Share(_), Some(local)) => match local.promise(cost, now) {
                true => Ok(Grant::Local(cost)),
                false => Err(earliest(at, local.opens_at(cost, now))),
            },
            _ => Err(at),
        }
    }

    pub(super) fn is_good(&self, grant: Grant, now: Instant) -> bool {
        match grant {
            Grant::Slots(slots, count) => count == self.closing.count() && now < slots.expires,
            Grant::Local(_) | Grant::Free => true,
        }
    }

    /// Uses tokens that were set aside.
    pub(super) fn send(&mut self, grant: Grant, now: Instant) -> bool {
        self.closing.until().is_none()
            && self.is_good(grant, now)
            && match (grant, &mut self.local) {
                (Grant::Local(cost), Some(local)) => local.send(cost, now),
                (Grant::Local(_), None) => false,
                (Grant::Slots(..) | Grant::Free, _) => true,
            }
    }

    /// Takes tokens back that were set aside and not used.
    pub(super) fn put_back(&mut self, grant: Grant, now: Instant) {
        match grant {
            Grant::Slots(slots, _) if self.is_good(grant, now) => {
                self.leased.give_back(slots, now);
            }
            Grant::Local(cost) => {
                if let Some(local) = &mut self.local {
                    local.take_back(cost);
                }
            }
            Grant::Slots(..) | Grant::Free => {}
        }
    }
}

/// The share that a worker has to itself.
fn local(rate: Rate, outage: Outage, now: Instant) -> Option<Local> {
    match outage {
        Outage::Share(share) => Some(Local::new(share.local(rate), now)),
        Outage::Closed { .. } | Outage::Open => None,
    }
}
