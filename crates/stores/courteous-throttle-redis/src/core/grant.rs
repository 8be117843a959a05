//! How tokens are set aside, used, and taken back.

use tokio::time::Instant;

use super::Core;
use crate::{local::earliest, outage::Outage, waiter::Grant};

impl Core {
    /// Sets tokens aside for a request. If there are none, returns when there will be some, if that
    /// is known.
    pub(super) fn set_aside(&mut self, cost: u32, now: Instant) -> Result<Grant, Option<Instant>> {
        if cost == 0 {
            // Such a request needs no slot, so it waits for no other.
            return Ok(Grant::Free);
        }
        if let Some(held) = self.leased.take(cost, now) {
            return Ok(Grant::Slots(held, self.closing.count()));
        }
        let mut at = self.leased.opens_at(cost);
        if self.calls.is_down() {
            self.calls.missed(cost);
            match (self.outage, &mut self.local) {
                (Outage::Open, _) => return Ok(Grant::Free),
                (Outage::Share(_), Some(local)) => {
                    if local.promise(cost, now) {
                        return Ok(Grant::Local(cost));
                    }
                    at = earliest(at, local.opens_at(cost, now));
                }
                _ => {}
            }
        }
        Err(at)
    }

    pub(super) fn is_good(&self, grant: Grant, now: Instant) -> bool {
        match grant {
            Grant::Slots(held, count) => count == self.closing.count() && now < held.expires,
            Grant::Local(_) | Grant::Free => true,
        }
    }

    /// Uses tokens that were set aside.
    pub(super) fn send(&mut self, grant: Grant, now: Instant) -> bool {
        self.closing.is_open()
            && self.is_good(grant, now)
            && match (grant, &mut self.local) {
                (Grant::Local(cost), Some(local)) => local.send(cost, now),
                (Grant::Local(_), None) => false,
                (Grant::Slots(..) | Grant::Free, _) => true,
            }
    }

    pub(super) fn put_back(&mut self, grant: Grant, now: Instant) {
        match grant {
            Grant::Slots(held, _) if self.is_good(grant, now) => self.leased.give_back(held, now),
            Grant::Local(cost) => {
                if let Some(local) = &mut self.local {
                    local.take_back(cost);
                }
            }
            Grant::Slots(..) | Grant::Free => {}
        }
    }
}
