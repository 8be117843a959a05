use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use courteous_core::Rejected;
use tokio::time::Instant;

use crate::{
    ask::Ask,
    nap::Nap,
    queue::Ticket,
    quotas::Admission,
    shared::Shared,
    shortcut::Shortcut,
    store::{Take, Turn},
    target::Target,
    token_queue::{Entry, PollOutcome, TokenQueue},
};

/// A place in the queue of a [`TokenQueue`], or before it.
///
/// # Cancel safety
///
/// If it is dropped, the call leaves the queue. Its grant, and what a quota has counted for it, are
/// given back.
pub struct QueuedTurn<T, S = ()>
where
    T: Send + 'static,
    S: Shortcut<T, Limit: TokenQueue>,
{
    shared: Arc<Shared<T, S>>,
    place: Position,
    /// What the request is for.
    target: Option<Target>,
    /// Whether a quota that is spread over its time has counted the call.
    paced: bool,
}

#[derive(Debug)]
enum Position {
    Queue(Ticket),
    /// The call is outside of the queue, until a quota lets it in.
    Held(Box<Held>),
    /// The turn was used, or the call was rejected outside of the queue.
    None,
}

#[derive(Debug)]
struct Held {
    nap: Nap,
    ask: Ask,
}

impl Position {
    fn held(until: Instant, ask: Ask) -> Self {
        let nap = Nap::new(until);
        Self::Held(Box::new(Held { nap, ask }))
    }
}

impl<T, S> QueuedTurn<T, S>
where
    T: Send + 'static,
    S: Shortcut<T, Limit: TokenQueue>,
{
    /// What a store answers to `ask`, after the call has [entered](TokenQueue::enter).
    pub fn after(
        shared: &Arc<Shared<T, S>>,
        ask: &Ask,
        (entry, paced): (Entry, bool),
    ) -> Take<Self> {
        let place = match entry {
            Entry::Taken => return Take::Taken,
            Entry::Rejected(rejected) => return Take::Rejected(rejected),
            Entry::Queued(ticket) => Position::Queue(ticket),
            Entry::Held(until) => Position::held(until, *ask),
        };
        Take::Wait(Self {
            shared: Arc::clone(shared),
            place,
            target: ask.target(),
            paced,
        })
    }

    /// Waits outside of the queue, and then joins it.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        while let Position::Held(held) = &mut self.place {
            ready!(held.nap.poll(cx));
            let ask = held.ask;
            let released = self
                .shared
                .update(|queue, now, _| release(queue, &ask, now));
            self.place = match released {
                Ok(place) => place,
                Err(rejected) => {
                    self.place = Position::None;
                    self.unspend(ask.cost());
                    return Poll::Ready(Err(rejected));
                }
            };
        }
        Poll::Ready(Ok(()))
    }

    /// Takes back what a quota has counted for the call.
    fn unspend(&mut self, cost: u32) {
        if mem::take(&mut self.paced) {
            let target = self.target;
            self.shared
                .with(|queue| queue.quotas().0.unspend(target, cost));
        }
    }
}

/// Lets a call go on that has waited for a quota: to another wait, or into the queue.
fn release(queue: &mut impl TokenQueue, ask: &Ask, now: Instant) -> Result<Position, Rejected> {
    let (quotas, spread) = queue.quotas();
    quotas.leave();
    match quotas.readmit(ask, spread, now) {
        Admission::Held { until, .. } => Ok(Position::held(until, *ask)),
        Admission::Rejected(rejected) => Err(rejected),
        Admission::Free { .. } => {
            // The call was let in before, so no queue is too long for it now.
            let ask = ask.with_max_waiting(usize::MAX);
            queue.arrive(&ask, now);
            queue.join(&ask, now).map(Position::Queue)
        }
    }
}

/// Whether a waiter that was granted its turn has to wait for a quota after all, because the quota
/// was used up meanwhile.
fn recheck(
    queue: &mut impl TokenQueue,
    ticket: &Ticket,
    target: Option<Target>,
    now: Instant,
) -> Option<PollOutcome> {
    queue.quotas().0.closed_until(target, now)?;
    let mut ask = queue.ask_of(ticket);
    if let Some(target) = target {
        ask = ask.with_target(target);
    }
    let (quotas, spread) = queue.quotas();
    match quotas.readmit(&ask, spread, now) {
        Admission::Free { .. } => None,
        Admission::Held { until, .. } => Some(PollOutcome::Held(until, ask)),
        Admission::Rejected(rejected) => {
            queue.reject(ticket, &rejected, now);
            Some(PollOutcome::Rejected(rejected))
        }
    }
}

impl<T, S> Turn for QueuedTurn<T, S>
where
    T: Send + 'static,
    S: Shortcut<T, Limit: TokenQueue>,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_held(cx))?;
            let Position::Queue(ticket) = &this.place else {
                return Poll::Ready(Ok(()));
            };
            let (shared, target) = (&this.shared, this.target);
            // Wakers are cloned and dropped without the lock.
            let mut waker = Some(cx.waker().clone());
            // Nearly all polls need neither the clock nor the timer.
            let polled = shared
                .attend(|queue, served| queue.poll_cheap(ticket, &mut waker, served))
                .unwrap_or_else(|| {
                    shared.join(|queue, now, wakes| {
                        match queue.poll_waiter(ticket, &mut waker, now, wakes) {
                            PollOutcome::Granted => {
                                recheck(queue, ticket, target, now).unwrap_or(PollOutcome::Granted)
                            }
                            polled => polled,
                        }
                    })
                });
            match polled {
                PollOutcome::Granted => return Poll::Ready(Ok(())),
                PollOutcome::Waiting => return Poll::Pending,
                PollOutcome::Early => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                PollOutcome::Rejected(rejected) => return Poll::Ready(Err(rejected)),
                PollOutcome::Held(until, ask) => {
                    let place = mem::replace(&mut this.place, Position::held(until, ask));
                    if let Position::Queue(ticket) = place {
                        let left = shared.update(|queue, now, _| queue.leave(ticket, false, now));
                        drop(left);
                    }
                }
            }
        }
    }

    fn spend(self: Pin<&mut Self>) -> bool {
        let Self {
            shared,
            place,
            paced,
            ..
        } = self.get_mut();
        let (spent, left) = shared.with(|queue| {
            // The clock is read under the lock: otherwise time could go back from one caller to the
            // next.
            let now = Instant::now();
            let spent = match &*place {
                Position::Queue(ticket) => queue.spend(ticket, now),
                _ => false,
            };
            match spent.then(|| mem::replace(place, Position::None)) {
                Some(Position::Queue(ticket)) => (spent, Some(queue.leave(ticket, true, now))),
                _ => (spent, None),
            }
        });
        *paced &= !spent;
        drop(left);
        spent
    }

    fn pass(self: Pin<&mut Self>) {
        let this = self.get_mut();
        if let Position::Queue(ticket) = &this.place {
            this.shared.update(|queue, now, _| queue.pass(ticket, now));
        }
    }
}

impl<T, S> Drop for QueuedTurn<T, S>
where
    T: Send + 'static,
    S: Shortcut<T, Limit: TokenQueue>,
{
    fn drop(&mut self) {
        match mem::replace(&mut self.place, Position::None) {
            Position::Queue(ticket) => {
                let left = self
                    .shared
                    .update(|queue, now, _| queue.leave(ticket, false, now));
                let (cost, waker) = left;
                drop(waker);
                self.unspend(cost);
            }
            Position::Held(held) => {
                self.shared.with(|queue| queue.quotas().0.leave());
                self.unspend(held.ask.cost());
            }
            Position::None => {}
        }
    }
}

impl<T, S> fmt::Debug for QueuedTurn<T, S>
where
    T: Send + 'static,
    S: Shortcut<T, Limit: TokenQueue>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedTurn")
            .field("place", &self.place)
            .field("paced", &self.paced)
            .finish_non_exhaustive()
    }
}
