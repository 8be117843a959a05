#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(feature = "encryption")]
mod encrypted;
mod error;
mod memory;
mod record;
pub mod row;
mod sink;
mod stats;
mod unreadable;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::StatusCode;

#[cfg(feature = "encryption")]
pub use self::encrypted::{Encrypted, EncryptionKey, InvalidEncryptionKey};
pub use self::{
    error::{PushError, StoreError},
    memory::MemoryStore,
    record::{Record, State, StateKind},
    sink::{BoxFuture, Sink},
    stats::{Count, Stats},
    unreadable::Unreadable,
};
use crate::{Failure, LetterId, Reason};

/// Keeps letters, so that they can be inspected and sent again.
///
/// All times are those of the store's own clock. A store that many machines share uses the
/// database's clock.
///
/// ```text
///             claim                    settle: Delivered
///  pending  ---------->  claimed  --------------------------->  delivered
///     ^  ^                |  |  |      settle: Refused
///     |  `----------------'  |  `---------------------------->  refused
///     |   settle: Failed,    |         settle: Exhausted, Expired
///     |   Released, or the   `------------------------------->  expired
///     |   end of the lease                                        |
///     `-------------------- mark: Pending ------------------------' (and of refused, discarded)
///                           mark: Discarded, Expired: from any state but claimed
/// ```
///
/// # Cancel safety
///
/// Dropping a future either leaves the record as it was, or makes the whole change; nothing in
/// between.
///
/// # Errors
///
/// The errors that each method names, and [`StoreError::Failed`], [`Closed`](StoreError::Closed)
/// and [`Corrupt`](StoreError::Corrupt) from all of them.
///
/// A record that cannot be read does not hold up any other. [`claim`](Self::claim) and
/// [`list`](Self::list) leave it out, [`Claimed::unreadable`] and [`unreadable`](Self::unreadable)
/// report it, and it can be marked as discarded.
pub trait LetterStore: Sink {
    /// Claims the oldest records that can be claimed, at most [`max`](Claim::max), sorted by id. It
    /// also reports the unreadable records that it came upon, at no extra cost.
    ///
    /// A record can be claimed if it is pending, or if its claim has ended, and if its `not_before`
    /// is not in the future. Each claim gets a fencing number that is higher than the record's last
    /// one, and ends after the [lease](Claim::lease). Two callers never get the same record at the
    /// same time.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>>;

    /// Writes the outcome of a claimed record, and so ends the claim. The outcome is durable when
    /// the future resolves.
    ///
    /// # Errors
    ///
    /// [`StaleFence`](StoreError::StaleFence) if the record is no longer claimed with `fence`. A
    /// claim whose lease has ended can still be settled, if the record was not claimed or marked
    /// since. [`NotFound`](StoreError::NotFound) if the record is gone.
    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The record with this id.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](StoreError::Corrupt) if it cannot be read.
    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>>;

    /// The records that `filter` accepts, sorted by id, which is oldest first. A result shorter
    /// than the page's limit is the last page.
    fn list(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// The records that `filter` accepts and that cannot be read, sorted by id. Every record that
    /// `filter` accepts is read, except its body, until the page is full: for a million letters,
    /// that takes seconds. Records whose id cannot be read come first, on the first page and beyond
    /// its limit.
    ///
    /// The default returns none, for stores whose records can always be read.
    fn unreadable(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Vec<Unreadable>, StoreError>> {
        let _ = (filter, page);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// How many records there are, by reason and state, and the age of the oldest record that is
    /// not settled.
    fn stats(&self) -> BoxFuture<'_, Result<Stats, StoreError>>;

    /// Changes the state of one record by hand. Marking a record with the state it has changes
    /// nothing. A pending record whose `not_before` is in the future still changes with
    /// [`Mark::Pending`].
    ///
    /// # Errors
    ///
    /// [`NotFound`](StoreError::NotFound), or [`Claimed`](StoreError::Claimed) if the record's
    /// claim has not ended yet.
    fn mark(&self, id: LetterId, mark: Mark) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes the records that have been delivered, refused, expired or discarded for longer than
    /// `older_than`, and returns how many there were. Pending and claimed records stay, whatever
    /// their age. So do records in a state that is unknown here.
    fn purge(&self, older_than: Duration) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// What to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// How many records at most. Zero claims nothing.
    pub max: u32,
    /// How long until another caller may claim the records again.
    pub lease: Duration,
    /// Only records that sort after this id. This lets a redrive go through the records once.
    pub after: Option<LetterId>,
    /// Only the record with this id.
    pub id: Option<LetterId>,
    /// Only records that the filter accepts. Its `state` is ignored.
    pub filter: Filter,
}

impl Claim {
    /// The oldest records, at most `max`, for `lease`.
    #[must_use]
    pub const fn new(max: u32, lease: Duration) -> Self {
        Self {
            max,
            lease,
            after: None,
            id: None,
            filter: Filter::new(),
        }
    }
}

/// The result of a claim.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Claimed {
    /// The records that are now claimed, sorted by id.
    pub records: Vec<Record>,
    /// Records in that range that could have been claimed, but cannot be read. They stay as they
    /// were.
    pub unreadable: Vec<Unreadable>,
}

impl From<Vec<Record>> for Claimed {
    /// These records, and no unreadable ones.
    fn from(records: Vec<Record>) -> Self {
        Self {
            records,
            unreadable: Vec::new(),
        }
    }
}

/// Selects records: those that meet all conditions that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Records in this state.
    pub state: Option<StateKind>,
    /// Records that failed for this reason, at the last time.
    pub reason: Option<Reason>,
    /// Records with this tag, by name and value.
    pub tag: Option<(String, String)>,
    /// Records that were recorded before this time: their id sorts before [`LetterId::floor`] of
    /// it.
    pub before: Option<SystemTime>,
}

impl Filter {
    /// All records.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: None,
            reason: None,
            tag: None,
            before: None,
        }
    }

    /// Only records in this state.
    #[must_use]
    pub fn with_state(mut self, state: StateKind) -> Self {
        self.state = Some(state);
        self
    }

    /// Only records that failed for this reason, at the last time.
    #[must_use]
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Only records with this tag.
    #[must_use]
    pub fn with_tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tag = Some((name.into(), value.into()));
        self
    }

    /// Only records that were recorded before `time`, to the millisecond.
    #[must_use]
    pub fn with_before(mut self, time: SystemTime) -> Self {
        self.before = Some(time);
        self
    }
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Only records that sort after this id: the last id of the previous page.
    pub after: Option<LetterId>,
    /// How many at most.
    pub limit: u32,
}

impl Page {
    /// The first `limit` records.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// The next `limit` records after the record with this id.
    #[must_use]
    pub const fn after(id: LetterId, limit: u32) -> Self {
        Self {
            after: Some(id),
            limit,
        }
    }
}

/// The outcome of a claimed record.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "a store has to handle each")]
pub enum Settlement {
    /// The record was sent and answered with success: it is delivered. Counts as a redrive.
    Delivered {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The record was sent and answered in a way that would come again: it is refused. Counts as a
    /// redrive.
    Refused {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The record was sent and failed: it is pending again, and this failure replaces the previous
    /// one. Counts as a redrive.
    Failed(Failure),
    /// The record was sent and failed for the last time: it is expired, and this failure replaces
    /// the previous one. Counts as a redrive.
    Exhausted(Failure),
    /// The record was not sent, and is too old to be sent: it is expired.
    Expired,
    /// The record was not sent: it is pending again, as it was before the claim.
    Released,
}

/// The state that a record is given by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a store has to handle each")]
pub enum Mark {
    /// The record may be sent again, even if it was settled. It may be sent now: its `not_before`
    /// is forgotten. Its count of redrives starts again at zero.
    Pending,
    /// The record must not be sent again, by decision.
    Discarded,
    /// The record must not be sent again, as it is too old.
    Expired,
}

impl<S: LetterStore + ?Sized> LetterStore for Arc<S> {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        (**self).claim(claim)
    }

    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        (**self).settle(id, fence, outcome)
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        (**self).get(id)
    }

    fn list(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        (**self).list(filter, page)
    }

    fn unreadable(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Vec<Unreadable>, StoreError>> {
        (**self).unreadable(filter, page)
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, StoreError>> {
        (**self).stats()
    }

    fn mark(&self, id: LetterId, mark: Mark) -> BoxFuture<'_, Result<(), StoreError>> {
        (**self).mark(id, mark)
    }

    fn purge(&self, older_than: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        (**self).purge(older_than)
    }
}
