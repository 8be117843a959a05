use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::Rejected;
use courteous_limit::{Ask, Target, Turn};
use courteous_limit::{Nap, Ticket};
use tokio::time::Instant;

use crate::{
    RedisBucket,
    core::{Answer, Polled},
};

/// A place in a [`RedisBucket`]'s queue, or before it.
#[derive(Debug)]
pub struct RedisTurn {
    bucket: RedisBucket,
    place: Place,
    /// The target of the request.
    target: Option<Target>,
    /// Whether the request was counted by a quota that is to be spread.
    paced: bool,
}

#[derive(Debug)]
enum Place {
    Queue(Ticket),
    /// The request is outside the queue, until a quota lets it in.
    Held(Box<Held>),
    /// The turn was used, or refused outside the queue.
    None,
}

#[derive(Debug)]
struct Held {
    nap: Nap,
    ask: Ask,
}

impl Place {
    fn held(until: Instant, ask: Ask) -> Self {
        let nap = Nap::new(until);
        Self::Held(Box::new(Held { nap, ask }))
    }
}

impl RedisTurn {
    pub(crate) const fn queued(
        bucket: RedisBucket,
        ticket: Ticket,
        target: Option<Target>,
        paced: bool,
    ) -> Self {
        Self {
            bucket,
            place: Place::Queue(ticket),
            target,
            paced,
        }
    }

    pub(crate) fn held(bucket: RedisBucket, until: Instant, ask: Ask, paced: bool) -> Self {
        Self {
            bucket,
            place: Place::held(until, ask),
            target: ask.target(),
            paced,
        }
    }

    /// Waits outside the queue, and then joins it.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        while let Place::Held(held) = &mut self.place {
            ready!(held.nap.poll(cx));
            let ask = held.ask;
            let shared = &self.bucket.shared;
            self.place = match shared.update(|core, now, _| core.release(&ask, now)) {
                Answer::Queued(ticket) => Place::Queue(ticket),
                Answer::Held(until) => Place::held(until, ask),
                Answer::Taken => Place::None,
                Answer::Rejected(rejected) => {
                    self.place = Place::None;
                    self.unspend(ask.cost());
                    return Poll::Ready(Err(rejected));
                }
            };
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the request's cost back from the quotas that counted it.
    fn unspend(&mut self, cost: u32) {
        if std::mem::take(&mut self.paced) {
            let target = self.target;
            self.bucket.shared.with(|core| core.unspend(target, cost));
        }
    }
}

impl Turn for RedisTurn {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_held(cx))?;
            let Place::Queue(ticket) = &this.place else {
                return Poll::Ready(Ok(()));
            };
            let (shared, target) = (&this.bucket.shared, this.target);
            // A waiter that was granted its turn needs neither the clock nor the timer.
            if shared.with(|core| core.is_granted(ticket)) {
                return Poll::Ready(Ok(()));
            }
            // The waker is cloned, and the waker that it replaces is dropped, without the lock.
            let mut waker = Some(cx.waker().clone());
            let found = shared.join(|core, now, wakes| {
                match core.poll_waiter(ticket, &mut waker, now, wakes) {
                    Polled::Granted => core
                        .recheck_quotas(ticket, target, now)
                        .unwrap_or(Polled::Granted),
                    found => found,
                }
            });
            match found {
                Polled::Granted => return Poll::Ready(Ok(())),
                Polled::Waiting => {
                    this.bucket.worker.ensure_task();
                    return Poll::Pending;
                }
                Polled::Rejected(rejected) => return Poll::Ready(Err(rejected)),
                Polled::Held(until, ask) => {
                    let place = std::mem::replace(&mut this.place, Place::held(until, ask));
                    if let Place::Queue(ticket) = place {
                        let left = shared.update(|core, now, _| core.leave(ticket, false, now));
                        drop(left);
                    }
                }
            }
        }
    }

    fn spend(self: Pin<&mut Self>) -> bool {
        let this = self.get_mut();
        let Self { bucket, place, .. } = this;
        let (spent, left) = bucket.shared.with(|core| {
            let now = Instant::now();
            let spent = match &*place {
                Place::Queue(ticket) => core.spend(ticket, now),
                _ => false,
            };
            match spent.then(|| std::mem::replace(place, Place::None)) {
                Some(Place::Queue(ticket)) => (spent, Some(core.leave(ticket, true, now))),
                _ => (spent, None),
            }
        });
        this.paced &= !spent;
        drop(left);
        spent
    }

    fn pass(self: Pin<&mut Self>) {
        let this = self.get_mut();
        if let Place::Queue(ticket) = &this.place {
            this.bucket
                .shared
                .update(|core, now, _| core.pass(ticket, now));
        }
    }
}

impl Drop for RedisTurn {
    fn drop(&mut self) {
        let shared = &self.bucket.shared;
        match std::mem::replace(&mut self.place, Place::None) {
            Place::Queue(ticket) => {
                let (cost, waker) = shared.update(|core, now, _| core.leave(ticket, false, now));
                drop(waker);
                self.unspend(cost);
            }
            Place::Held(held) => {
                shared.with(|core| core.leave_quota());
                self.unspend(held.ask.cost());
            }
            Place::None => {}
        }
    }
}
