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

/// Where letters are kept, to be looked at and sent again.
///
/// All times are those of the store's own clock, which for a store that many machines share is the database's.
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
/// Dropping a future leaves the record as it was, or changes it as was asked; never anything between.
///
/// # Errors
///
/// Those that each method names, and [`StoreError::Failed`], [`Closed`](StoreError::Closed) and
/// [`Corrupt`](StoreError::Corrupt) from all of them.
///
/// A record that cannot be read holds up no other: [`claim`](Self::claim) and [`list`](Self::list) leave it out,
/// [`Claimed::unreadable`] and [`unreadable`](Self::unreadable) tell it, and it can be marked as discarded.
pub trait LetterStore: Sink {
    /// Claims the oldest records that can be claimed, at most [`max`](Claim::max) of them, sorted by id. It also tells which ones
    /// it came upon that cannot be read, at no cost of their own.
    ///
    /// A record can be claimed if it is pending, or claimed until a time that has come, and its `not_before` is not to come.
    /// Each claim gets a fencing number that is higher than the record's last one, and ends after the
    /// [lease](Claim::lease). Two callers never get the same record at the same time.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>>;

    /// Writes what became of a claimed record, and so ends the claim; durable when the future resolves.
    ///
    /// # Errors
    ///
    /// [`StaleFence`](StoreError::StaleFence) if the record is not claimed with `fence` any more. A claim whose lease has
    /// ended can still be settled, as long as nobody has claimed or marked the record since.
    /// [`NotFound`](StoreError::NotFound) if it is gone.
    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The record of this id.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](StoreError::Corrupt) if it cannot be read.
    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>>;

    /// The records that `filter` lets through, sorted by id, which is oldest first. Fewer than the page's limit are the last
    /// ones.
    fn list(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// The records among those that `filter` lets through which cannot be read, sorted by id. Each record that `filter` lets
    /// through is read, but for its body, until the page is full: of a million letters, that takes seconds. Those whose id cannot be read come first, with the first page and beyond
    /// its limit.
    ///
    /// The default is that of a store whose records can always be read: none.
    fn unreadable(
        &self,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Vec<Unreadable>, StoreError>> {
        let _ = (filter, page);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// How many records there are, by reason and state, and the age of the oldest that is not settled.
    fn stats(&self) -> BoxFuture<'_, Result<Stats, StoreError>>;

    /// Changes the state of one record by hand. Marking a record as what it is changes nothing; one that is pending, but not
    /// before a time that is to come, is not what [`Mark::Pending`] makes it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](StoreError::NotFound), or [`Claimed`](StoreError::Claimed) if it is claimed until a time that is to come.
    fn mark(&self, id: LetterId, mark: Mark) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes the records that have been delivered, refused, expired or discarded for longer than `older_than`, and returns
    /// how many there were. What is pending or claimed stays, whatever its age, and so does what is in a state that is not
    /// known here.
    fn purge(&self, older_than: Duration) -> BoxFuture<'_, Result<u64, StoreError>>;
}

/// What to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// How many records at most. Zero claims nothing.
    pub max: u32,
    /// How long until others may claim them again.
    pub lease: Duration,
    /// Only those that sort after this id: what lets a redrive go through the records once.
    pub after: Option<LetterId>,
    /// Only the record of this id.
    pub id: Option<LetterId>,
    /// Only those that it lets through. Its `state` is not looked at.
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

/// What a claim has found.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Claimed {
    /// The records that are claimed now, sorted by id.
    pub records: Vec<Record>,
    /// Those in their place that could have been claimed, but cannot be read. They stay as they were.
    pub unreadable: Vec<Unreadable>,
}

impl From<Vec<Record>> for Claimed {
    /// These records, and none that cannot be read.
    fn from(records: Vec<Record>) -> Self {
        Self {
            records,
            unreadable: Vec::new(),
        }
    }
}

/// Which records: those that meet all that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Those in this state.
    pub state: Option<StateKind>,
    /// Those that failed for this reason, at the last time.
    pub reason: Option<Reason>,
    /// Those with this tag, by name and value.
    pub tag: Option<(String, String)>,
    /// Those that were recorded before this time, which means: whose id sorts before [`LetterId::floor`] of it.
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

    /// Only those in this state.
    #[must_use]
    pub fn with_state(mut self, state: StateKind) -> Self {
        self.state = Some(state);
        self
    }

    /// Only those that failed for this reason, at the last time.
    #[must_use]
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Only those with this tag.
    #[must_use]
    pub fn with_tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tag = Some((name.into(), value.into()));
        self
    }

    /// Only those that were recorded before `time`, to the millisecond.
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
    /// Only the records that sort after this id: the last one of the page before.
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

    /// The next `limit` records after the one of this id.
    #[must_use]
    pub const fn after(id: LetterId, limit: u32) -> Self {
        Self {
            after: Some(id),
            limit,
        }
    }
}

/// What became of a claimed record.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "a store has to handle each")]
pub enum Settlement {
    /// It was sent, and answered with success: delivered. Counts a redrive.
    Delivered {
        /// The status of the answer.
        status: StatusCode,
    },
    /// It was sent, and answered in a way that would come again: refused. Counts a redrive.
    Refused {
        /// The status of the answer.
        status: StatusCode,
    },
    /// It was sent, and failed: pending again, with this failure in place of the one before. Counts a redrive.
    Failed(Failure),
    /// It was sent, and failed for the last time: expired, with this failure in place of the one before. Counts a redrive.
    Exhausted(Failure),
    /// It was not sent, and is too old to be: expired.
    Expired,
    /// It was not sent: pending again, as it was before it was claimed.
    Released,
}

/// What a record is made by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a store has to handle each")]
pub enum Mark {
    /// To be sent again, though it was settled, and now, whatever its `not_before` was, which is forgotten. The count of redrives
    /// starts anew.
    Pending,
    /// Not to be sent again, by decision.
    Discarded,
    /// Not to be sent again, as it is too old.
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
