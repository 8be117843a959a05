use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use courteous_core::{Rate, Rejected, RequestView};

use crate::{Ask, InvalidRates, LimitId, Settler, Target, ThrottleSnapshot, ToldQuota};

/// Chooses the tokens that a request draws on.
///
/// One store is itself, for all requests; a keyed one has a store for each host, or each credential.
pub trait Partition {
    /// What keeps the tokens.
    type Store: TokenStore;

    /// The tokens that the request with this `head` draws on. Never fails: a keyed store whose memory is used up has the
    /// request share tokens, or lets it pass.
    fn select(&self, head: RequestView<'_>) -> Self::Store;

    /// What is in force now, for a health check or a support ticket. The default tells nothing.
    fn snapshot(&self) -> Option<ThrottleSnapshot> {
        None
    }

    /// The rates that are in force now, for all requests. The default asks for a
    /// [`snapshot`](Self::snapshot).
    fn rates(&self) -> Option<Vec<Rate>> {
        self.snapshot().map(|snapshot| snapshot.rates)
    }

    /// Goes on at `rates`, instead of those that there were, for all requests. There is at least one.
    ///
    /// # Errors
    ///
    /// If the tokens do not come back at such rates; then nothing has changed. The default rejects all.
    fn set_rates(&self, rates: &[Rate]) -> Result<(), InvalidRates> {
        let _ = rates;
        Err(InvalidRates::new(
            "the rates of this partition cannot be set",
        ))
    }
}

/// Keeps the tokens of a throttle: in this process, or for several machines.
///
/// A store is a handle, cheap to clone. One that has to ask another machine answers [`Take::Wait`] unless it has tokens at
/// hand, and does the asking when its [`Turn`] is polled, or by itself.
pub trait TokenStore {
    /// A place in the queue.
    type Turn: Turn;

    /// Takes tokens now, or rejects, or else gives a place in the queue. The order of the calls is the order of the queue.
    fn take(&self, ask: &Ask) -> Take<Self::Turn>;

    /// Lets no call pass before `opens`, however many tokens there are. A bucket that opens later stays closed until then.
    fn close_until(&self, opens: Instant);

    /// The server said that it will take `remaining` more requests within `reset` from now. A store that can slows down so
    /// that they last; it never goes faster than its own rate because of that.
    fn pace(&self, remaining: u64, reset: Duration);

    /// Takes note of what a response to a request for `target` said of quotas that it names. Requests that are known to
    /// count against a used-up one wait for it: see [`Quotas`](crate::Quotas), which is made for that.
    ///
    /// The default forgets it: such quotas hold up nothing then.
    fn hear(&self, target: Target, told: &[ToldQuota]) {
        let _ = (target, told);
    }

    /// Whether the tokens come back at a rate that was set: only then a server's quotas pace calls, if the user has not
    /// asked for that. The default is `true`.
    fn has_rate(&self) -> bool {
        true
    }

    /// The same tokens for calls that are only observed: see [`ObservedStore`]. The default is `None`: such calls pass, and nothing
    /// is told of them.
    fn observed(&self) -> Option<&dyn ObservedStore> {
        None
    }

    /// One draw of the jitter that a call adds to the opening of a closed bucket.
    fn jitter(&self) -> Duration;

    /// Any of the limits that it keeps to, so that a cost that is addressed to one of them is counted. All stores of a keyed
    /// one must name the same. The default is `None`: no cost can be addressed to it.
    fn limit_id(&self) -> Option<LimitId> {
        None
    }

    /// Where the true cost of a call is told, if the store can change what it has counted. Asked only for calls with an
    /// addressed cost, whose [`Ask`] has a [`ChargeId`](crate::ChargeId) then. The default is `None`: the estimate stands.
    fn settler(&self) -> Option<Arc<dyn Settler>> {
        None
    }
}

/// Tells what would become of calls that are only observed, as [`ObserveOnly`](courteous_core::ObserveOnly) says.
///
/// It has tokens of its own, which are taken at the instants at which the calls would have been sent. So each call finds what it
/// would have found if all were enforced, and those that *are* enforced are told nothing of it. Each method is that of
/// [`TokenStore`] with the same name.
pub trait ObservedStore {
    /// What would become of a call, which is sent at once.
    fn take(&self, ask: &Ask) -> Observed;

    /// Lets no call pass virtually before `opens`.
    fn close_until(&self, opens: Instant);

    /// The server said that it will take `remaining` more requests within `reset` from now.
    fn pace(&self, remaining: u64, reset: Duration);

    /// Takes note of what a response to a request for `target` said of quotas that it names.
    fn hear(&self, target: Target, told: &[ToldQuota]);
}

/// What would have become of a call, had it asked a [`TokenStore`] for tokens.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a store can do nothing else")]
pub enum Observed {
    /// It would have been sent at once.
    Now,
    /// It would have waited for so long, as things are.
    Wait(Duration),
    /// It would have been rejected.
    Rejected(Rejected),
}

/// A place in a store's queue.
///
/// Dropped, it gives everything back that it was granted and has not spent.
pub trait Turn {
    /// Waits until the tokens are there. They are set aside then, for a call that is made in this very poll. In a later
    /// poll they may be gone.
    ///
    /// # Errors
    ///
    /// The wait was found to end too late, or the bucket was closed and a retry is outside.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>>;

    /// Spends the tokens: the request is sent now. `false` if they were not there any more; then poll again, for a place
    /// among the oldest.
    fn spend(self: Pin<&mut Self>) -> bool;

    /// Gives the tokens back, as the request cannot be sent yet, and stays out of the queue until the next poll, which
    /// joins it again among the oldest.
    fn pass(self: Pin<&mut Self>);
}

/// What became of asking a [`TokenStore`] for tokens.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "a store can do nothing else")]
pub enum Take<T> {
    /// They are spent: the request is sent now.
    Taken,
    /// They have to be waited for.
    Wait(T),
    /// They would come too late, or never.
    Rejected(Rejected),
}

impl<T> Take<T> {
    /// The same with what `wait` makes of the turn.
    pub fn map<U>(self, wait: impl FnOnce(T) -> U) -> Take<U> {
        match self {
            Self::Taken => Take::Taken,
            Self::Wait(turn) => Take::Wait(wait(turn)),
            Self::Rejected(rejected) => Take::Rejected(rejected),
        }
    }
}
