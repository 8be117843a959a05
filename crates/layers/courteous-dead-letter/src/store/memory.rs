use std::{
    collections::BTreeMap,
    future,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{
    BoxFuture, Claim, Claimed, Clock, Count, Filter, Letter, LetterId, LetterStore, Mark, Page,
    PushError, Record, Settlement, Sink, State, Stats, StoreError, clock::later,
};

/// A [`LetterStore`] in memory, for tests: its records are gone with the last handle.
///
/// # Sharing
///
/// Clones are the same store.
///
/// ```
/// use courteous_dead_letter::{Filter, MemoryStore, Page, LetterStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), courteous_dead_letter::StoreError> {
/// let store = MemoryStore::new();
/// assert!(store.list(Filter::new(), Page::first(10)).await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStore {
    clock: Clock,
    capacity: usize,
    entries: Arc<Mutex<BTreeMap<LetterId, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// The last fencing number.
    fence: u64,
}

impl MemoryStore {
    /// An empty store with the system's clock, for any number of records.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Clock::system(),
            capacity: usize::MAX,
            entries: Arc::default(),
        }
    }

    /// Uses another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Holds this many records: further letters are rejected with [`PushError::Full`].
    #[must_use]
    pub const fn with_capacity(mut self, records: NonZeroUsize) -> Self {
        self.capacity = records.get();
        self
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LetterId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_now(&self, letter: Letter) -> Result<(), PushError> {
        let now = self.clock.now();
        let mut entries = self.lock();
        if entries.len() >= self.capacity && !entries.contains_key(&letter.id) {
            return Err(PushError::Full);
        }
        let id = letter.id;
        let record = Record::new(letter, now);
        entries.entry(id).or_insert(Entry { record, fence: 0 });
        Ok(())
    }

    fn claim_now(&self, claim: &Claim) -> Vec<Record> {
        let now = self.clock.now();
        let filter = Filter {
            state: None,
            ..claim.filter.clone()
        };
        let mut entries = self.lock();
        let claimable = entries.values_mut().filter(|entry| {
            let id = entry.record.letter.id;
            claim.after.is_none_or(|after| id > after)
                && claim.id.is_none_or(|only| id == only)
                && filter.lets_through(&entry.record)
                && is_claimable(&entry.record, now)
        });
        let claimed = claimable.take(claim.max as usize).map(|entry| {
            entry.fence += 1;
            entry.record.changed_at = now;
            entry.record.state = State::Claimed {
                fence: entry.fence,
                until: later(now, claim.lease),
            };
            entry.record.clone()
        });
        claimed.collect()
    }

    fn settle_now(&self, id: LetterId, fence: u64, outcome: Settlement) -> Result<(), StoreError> {
        let mut entries = self.lock();
        let entry = entries.get_mut(&id).ok_or(StoreError::NotFound)?;
        let record = &mut entry.record;
        match record.state {
            State::Claimed { fence: own, .. } if own == fence => {}
            _ => return Err(StoreError::StaleFence),
        }
        let sent = !matches!(outcome, Settlement::Expired | Settlement::Released);
        record.redrives = record.redrives.saturating_add(sent.into());
        record.changed_at = self.clock.now();
        record.state = match outcome {
            Settlement::Delivered { status } => State::Delivered { status },
            Settlement::Refused { status } => State::Refused { status },
            Settlement::Failed(failure) => {
                record.letter.failure = failure;
                State::Pending
            }
            Settlement::Exhausted(failure) => {
                record.letter.failure = failure;
                State::Expired
            }
            Settlement::Expired => State::Expired,
            Settlement::Released => State::Pending,
        };
        Ok(())
    }

    fn mark_now(&self, id: LetterId, mark: Mark) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut entries = self.lock();
        let record = &mut entries.get_mut(&id).ok_or(StoreError::NotFound)?.record;
        let to = match mark {
            Mark::Pending => State::Pending,
            Mark::Discarded => State::Discarded,
            Mark::Expired => State::Expired,
        };
        match record.state {
            State::Claimed { until, .. } if until > now => {
                return Err(StoreError::Claimed { until });
            }
            state if state == to && (mark != Mark::Pending || is_claimable(record, now)) => {
                return Ok(());
            }
            _ => {}
        }
        if mark == Mark::Pending {
            record.redrives = 0;
            record.letter.failure.not_before = None;
        }
        record.state = to;
        record.changed_at = now;
        Ok(())
    }

    fn list_now(&self, filter: &Filter, page: Page) -> Vec<Record> {
        let entries = self.lock();
        let records = entries.values().map(|entry| &entry.record);
        records
            .filter(|record| page.after.is_none_or(|after| record.letter.id > after))
            .filter(|record| filter.lets_through(record))
            .take(page.limit as usize)
            .cloned()
            .collect()
    }

    fn stats_now(&self) -> Stats {
        let now = self.clock.now();
        let entries = self.lock();
        let mut counts = BTreeMap::new();
        let mut oldest = None;
        for entry in entries.values() {
            let (letter, state) = (&entry.record.letter, entry.record.state.kind());
            *counts.entry((letter.failure.reason, state)).or_default() += 1;
            if !state.is_final() {
                oldest = oldest.or(Some(letter.id.recorded_at()));
            }
        }
        let count = |((reason, state), count)| Count::new(reason, state, count);
        let age = oldest.map(|oldest| now.duration_since(oldest).unwrap_or_default());
        Stats::new(counts.into_iter().map(count), age)
    }

    fn purge_now(&self, older_than: Duration) -> u64 {
        let now = self.clock.now();
        let mut entries = self.lock();
        let before = entries.len();
        entries.retain(|_, Entry { record, .. }| {
            let age = now.duration_since(record.changed_at).unwrap_or_default();
            !record.state.kind().is_final() || age <= older_than
        });
        (before - entries.len()) as u64
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

fn is_claimable(record: &Record, now: SystemTime) -> bool {
    let free = match record.state {
        State::Pending => true,
        State::Claimed { until, .. } => until <= now,
        _ => false,
    };
    free && record
        .letter
        .failure
        .not_before
        .is_none_or(|then| then <= now)
}

impl Filter {
    fn lets_through(&self, record: &Record) -> bool {
        let letter = &record.letter;
        self.state.is_none_or(|state| record.state.kind() == state)
            && self
                .reason
                .is_none_or(|reason| letter.failure.reason == reason)
            && self
                .tag
                .as_ref()
                .is_none_or(|(name, value)| letter.tags.get(name) == Some(value))
            && self
                .before
                .is_none_or(|before| letter.id < LetterId::floor(before))
    }
}

impl Sink for MemoryStore {
    fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        Box::pin(future::ready(self.push_now(letter)))
    }
}

impl LetterStore for MemoryStore {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StoreError>> {
        Box::pin(async move { Ok(self.claim_now(&claim).into()) })
    }

    fn settle(
        &self,
        id: LetterId,
        fence: u64,
        outcome: Settlement,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.settle_now(id, fence, outcome) })
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        let get = move || Ok(self.lock().get(&id).map(|entry| entry.record.clone()));
        Box::pin(async move { get() })
    }

    fn list(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { Ok(self.list_now(&filter, page)) })
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, StoreError>> {
        Box::pin(async move { Ok(self.stats_now()) })
    }

    fn mark(&self, id: LetterId, mark: Mark) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.mark_now(id, mark) })
    }

    fn purge(&self, older_than: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { Ok(self.purge_now(older_than)) })
    }
}
