use std::task::Waker;

use courteous_core::Rejected;
use tokio::time::Instant;

use crate::{
    ask::Ask,
    queue::Ticket,
    quotas::{Admission, Quotas},
    serve::Serve,
    spread::Spread,
    wakes::KeptWaker,
};

/// Tokens, and the calls that wait for them in one queue. A store of tokens implements this for what
/// it keeps under the lock of a [`Shared`](crate::Shared), and gets its turns from
/// [`QueuedTurn`](crate::QueuedTurn).
///
/// ```text
///                no quota is used up,              the tokens
///                or none is known                  are there
///  call --enter--------------------> try_take ----------------------------------------> sent
///           |                           | they are not                                   ^
///           | a quota is used up,       v                 granted                        |
///           | or is spread            join --> in the queue --> poll_waiter --> spend ---+
///           v                           ^                            |
///         held -------------------------+                            |
///           ^    its time has come                                   |
///           +--------------------------------------------------------+
///                a quota was used up meanwhile
/// ```
///
/// The quotas, and the way of a call from one place to the next, are the same for all. The methods
/// here are what differs: where the tokens come from, how long a grant is good, and which waiter is
/// next.
pub trait TokenQueue: Serve {
    /// Lets the time pass, and counts a call that is not held up by a quota. [`try_take`] or
    /// [`join`] follows.
    ///
    /// [`try_take`]: Self::try_take
    /// [`join`]: Self::join
    fn arrive(&mut self, ask: &Ask, now: Instant);

    /// Takes tokens if they are there and no waiter comes first. Returns whether it took them.
    fn try_take(&mut self, ask: &Ask, now: Instant) -> bool;

    /// Gives a call a place in the queue.
    ///
    /// # Errors
    ///
    /// If the call cannot wait for as long as it would have to.
    fn join(&mut self, ask: &Ask, now: Instant) -> Result<Ticket, Rejected>;

    /// How many waiters are in the queue.
    fn queued(&self) -> usize;

    /// The quotas that servers named, and how far calls are spread once such a quota opens.
    fn quotas(&mut self) -> (&mut Quotas, &Spread);

    /// Polls a waiter without reading the clock, where that is enough, and otherwise returns `None`.
    /// `served` tells whether a timer serves the queue. If the waiter has to wait, `waker` is kept.
    fn poll_cheap(
        &mut self,
        ticket: &Ticket,
        waker: &mut Option<Waker>,
        served: &dyn Fn() -> bool,
    ) -> Option<PollOutcome>;

    /// Polls a waiter. If it has to wait, `waker` is kept, and the waker that it replaces is left in
    /// `waker`. Never returns [`Held`](PollOutcome::Held).
    fn poll_waiter(
        &mut self,
        ticket: &Ticket,
        waker: &mut Option<Waker>,
        now: Instant,
        wakes: &mut crate::Wakes,
    ) -> PollOutcome;

    /// What a waiter asked for, without its target.
    fn ask_of(&mut self, ticket: &Ticket) -> Ask;

    /// Rejects a waiter that was granted its turn, and takes its grant back.
    fn reject(&mut self, ticket: &Ticket, rejected: &Rejected, now: Instant);

    /// Uses a waiter's grant to send. Returns `false` if the grant is too old: then the waiter waits
    /// again.
    fn spend(&mut self, ticket: &Ticket, now: Instant) -> bool;

    /// Takes a waiter's grant back, until the waiter is polled again.
    fn pass(&mut self, ticket: &Ticket, now: Instant);

    /// Removes a waiter. Gives its grant back, unless the call was `sent`. Returns what the waiter
    /// cost in the first limit, and its waker, which must be dropped without the lock.
    #[must_use]
    fn leave(&mut self, ticket: Ticket, sent: bool, now: Instant) -> (u32, KeptWaker);

    /// Takes tokens, or a place in the queue or before it. Also returns whether a quota that is
    /// spread over its time has counted the call.
    fn enter(&mut self, ask: &Ask, now: Instant) -> (Entry, bool) {
        let queued = self.queued();
        let (quotas, spread) = self.quotas();
        let paced = match quotas.admit(ask, queued, spread, now) {
            Admission::Free { paced } => paced,
            Admission::Held { until, paced } => return (Entry::Held(until), paced),
            Admission::Rejected(rejected) => return (Entry::Rejected(rejected), false),
        };
        self.arrive(ask, now);
        if self.try_take(ask, now) {
            return (Entry::Taken, paced);
        }
        match self.join(ask, now) {
            Ok(ticket) => (Entry::Queued(ticket), paced),
            Err(rejected) => {
                if paced {
                    self.quotas().0.unspend(ask.target(), ask.cost());
                }
                (Entry::Rejected(rejected), false)
            }
        }
    }
}

/// The answer to a call that asks for tokens.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "a store can do nothing else")]
pub enum Entry {
    /// The call has its tokens.
    Taken,
    /// It is in the queue.
    Queued(Ticket),
    /// It waits until then outside of the queue, because a quota that it counts against is used up,
    /// or is spread over its time.
    Held(Instant),
    /// It cannot wait.
    Rejected(Rejected),
}

/// The outcome of a waiter's poll.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "a store can do nothing else")]
pub enum PollOutcome {
    /// It may send now.
    Granted,
    /// It was granted its turn, but older waiters that are already woken go first. It is woken again
    /// behind them.
    Early,
    /// It has to wait.
    Waiting,
    /// It was granted its turn, but a quota that the call counts against is used up until then. It
    /// leaves the queue.
    Held(Instant, Ask),
    /// It waits no longer.
    Rejected(Rejected),
}
