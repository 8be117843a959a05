use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::BoxError;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body::Body;
use tokio::time::{Instant, sleep};
use tower_service::Service;

use super::{
    MARGIN,
    attempt::{Attempted, drain},
    events,
    plan::Hold,
};
use crate::{
    Claim, Filter, Letter, LetterId, LetterStore, NotSent, Page, Progress, Record, Redrive,
    RedriveOutcome, Settlement, State, StateKind, StoreError, Summary, Unreadable, clock::later,
};

/// A run includes letters that are recorded until this long after its beginning, by the recorders'
/// clocks. So the run ends, even if more letters come, and clocks may disagree a bit.
const SKEW: Duration = Duration::from_secs(60);

/// How many records a dry run reads at once.
const PAGE: u32 = 100;

/// What the workers of one run share.
struct RunState(Mutex<Shared>);

#[derive(Default)]
struct Shared {
    /// The newest record that was claimed.
    cursor: Option<LetterId>,
    summary: Summary,
    /// The unreadable records that were counted.
    told: HashSet<LetterId>,
    told_nameless: u64,
    failures_in_row: u32,
    error: Option<StoreError>,
}

impl Redrive {
    /// Sends the letters of `store` again, through `service`.
    ///
    /// # Errors
    ///
    /// The store's errors: the run ends when the sends in progress have ended. A settlement is
    /// tried again until the claim has run out. So an error means that a record that was already
    /// answered may be sent again, with the same key.
    pub async fn run<St, S, B, RB>(&self, store: &St, service: S) -> Result<Summary, StoreError>
    where
        St: LetterStore + ?Sized,
        S: Service<Request<B>, Response = Response<RB>> + Clone,
        S::Error: Into<BoxError>,
        B: From<Bytes>,
        RB: Body,
    {
        let run = RunState(Mutex::default());
        let mut filter = self.filter.clone();
        let end = later(self.clock.now(), SKEW);
        filter.before = Some(filter.before.map_or(end, |before| before.min(end)));
        if self.dry_run {
            self.look(&run, store, &filter).await?;
            self.look_for_unreadable(&run, store, &filter).await?;
        } else {
            let worker = |_| self.work(&run, store, service.clone(), &filter);
            join_all((0..self.concurrency.get()).map(worker)).await;
        }
        let shared = run.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        match shared.error {
            Some(error) => Err(error),
            None => Ok(shared.summary),
        }
    }

    /// Claims one record after the other, and sends it.
    async fn work<St, S, B, RB>(&self, run: &RunState, store: &St, service: S, filter: &Filter)
    where
        St: LetterStore + ?Sized,
        S: Service<Request<B>, Response = Response<RB>> + Clone,
        S::Error: Into<BoxError>,
        B: From<Bytes>,
        RB: Body,
    {
        while let Some(after) = run.cursor() {
            let claimed_at = Instant::now();
            let claim = Claim {
                after,
                id: self.id,
                filter: filter.clone(),
                ..Claim::new(1, self.lease())
            };
            let claimed = store.claim(claim).await.map(|mut claimed| {
                self.tell_unreadable(run, &claimed.unreadable);
                claimed.records.pop()
            });
            match claimed {
                Ok(Some(record)) => {
                    run.advance(record.letter.id);
                    if let Err(error) = self
                        .redrive(run, store, service.clone(), record, claimed_at)
                        .await
                    {
                        run.fail(error);
                    }
                }
                Ok(None) => return,
                Err(error) => run.fail(error),
            }
        }
    }

    async fn redrive<St, S, B, RB>(
        &self,
        run: &RunState,
        store: &St,
        service: S,
        record: Record,
        claimed_at: Instant,
    ) -> Result<(), StoreError>
    where
        St: LetterStore + ?Sized,
        S: Service<Request<B>, Response = Response<RB>>,
        S::Error: Into<BoxError>,
        B: From<Bytes>,
        RB: Body,
    {
        let State::Claimed { fence, .. } = record.state else {
            return Err(StoreError::StaleFence);
        };
        let attempted = match self.check(&record, self.clock.now()) {
            Ok(()) => self.send(&record, service, claimed_at).await,
            Err(Hold::Keep(why)) => Attempted::not_sent(why),
            Err(Hold::Expire) => Attempted {
                settlement: Settlement::Expired,
                outcome: RedriveOutcome::Expired,
                rest: None,
            },
        };
        let id = record.letter.id;
        let until = claimed_at.checked_add(self.lease());
        let outcome = match settle(store, id, fence, attempted.settlement, until).await {
            Ok(()) => attempted.outcome,
            Err(StoreError::StaleFence | StoreError::NotFound) => RedriveOutcome::Lost,
            Err(error) => return Err(error),
        };
        self.tell(run, id, Some(&record.letter), &outcome);
        // After the settlement: until then, a crash means a duplicate.
        if let Some(rest) = attempted.rest {
            drain(rest).await;
        }
        Ok(())
    }

    /// A dry run: the same records and the same decisions, as far as possible without sending.
    async fn look<St>(&self, run: &RunState, store: &St, filter: &Filter) -> Result<(), StoreError>
    where
        St: LetterStore + ?Sized,
    {
        let now = self.clock.now();
        // Claimed records may be free again.
        for state in [StateKind::Pending, StateKind::Claimed] {
            let filter = filter.clone().with_state(state);
            let mut page = Page::first(PAGE);
            loop {
                let records = store.list(filter.clone(), page).await?;
                let Some(last) = records.last() else {
                    break;
                };
                page.after = Some(last.letter.id);
                let due = records.iter().filter(|record| self.is_due(record, now));
                for record in due {
                    let outcome = match self.check(record, now) {
                        Ok(()) => RedriveOutcome::WouldSend,
                        Err(Hold::Expire) => RedriveOutcome::Expired,
                        Err(Hold::Keep(why)) => RedriveOutcome::NotSent(why),
                    };
                    self.tell(run, record.letter.id, Some(&record.letter), &outcome);
                }
            }
        }
        Ok(())
    }

    /// A dry run: records that would have been sent if they could be read. It reads all open
    /// records, as the rest of a dry run does.
    async fn look_for_unreadable<St>(
        &self,
        run: &RunState,
        store: &St,
        filter: &Filter,
    ) -> Result<(), StoreError>
    where
        St: LetterStore + ?Sized,
    {
        if let Some(id) = self.id {
            if let Err(StoreError::Corrupt { column, .. }) = store.get(id).await {
                self.tell_unreadable(run, &[Unreadable::new(Some(id), column)]);
            }
            return Ok(());
        }
        for state in [StateKind::Pending, StateKind::Claimed] {
            let filter = filter.clone().with_state(state);
            let mut page = Page::first(PAGE);
            loop {
                let found = store.unreadable(filter.clone(), page).await?;
                self.tell_unreadable(run, &found);
                page.after = found.last().and_then(|last| last.id);
                if page.after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Counts the unreadable records that would have been sent, each once: two workers may find the
    /// same ones.
    fn tell_unreadable(&self, run: &RunState, found: &[Unreadable]) {
        for Unreadable { id, column } in run.untold(found) {
            let outcome = RedriveOutcome::NotSent(NotSent::Unreadable { column });
            match id {
                Some(id) => self.tell(run, id, None, &outcome),
                None => drop(run.count(&outcome, None)),
            }
        }
    }

    fn tell(
        &self,
        run: &RunState,
        id: LetterId,
        letter: Option<&Letter>,
        outcome: &RedriveOutcome,
    ) {
        let summary = run.count(outcome, self.max_failures_in_row.map(Into::into));
        events::redriven(id, letter, outcome);
        if let Some(on_progress) = &self.on_progress {
            on_progress(&Progress::new(id, outcome, &summary));
        }
    }

    const fn lease(&self) -> Duration {
        self.total_timeout.saturating_add(MARGIN)
    }
}

impl RunState {
    /// Where to continue; `None` if the run is over.
    fn cursor(&self) -> Option<Option<LetterId>> {
        let shared = self.lock();
        let over = shared.summary.stopped_early || shared.error.is_some();
        (!over).then_some(shared.cursor)
    }

    fn advance(&self, claimed: LetterId) {
        let mut shared = self.lock();
        shared.cursor = shared.cursor.max(Some(claimed));
    }

    /// The records in `found` that were not reported before.
    fn untold(&self, found: &[Unreadable]) -> Vec<Unreadable> {
        if found.is_empty() {
            return Vec::new();
        }
        let mut shared = self.lock();
        // Records without an id are found again by each claim that starts from the beginning.
        let mut nameless = 0;
        let is_new = |one: &&Unreadable| match one.id {
            Some(id) => shared.told.insert(id),
            None => {
                nameless += 1;
                let is_new = nameless > shared.told_nameless;
                shared.told_nameless = shared.told_nameless.max(nameless);
                is_new
            }
        };
        found.iter().filter(is_new).copied().collect()
    }

    fn fail(&self, error: StoreError) {
        self.lock().error.get_or_insert(error);
    }

    fn count(&self, outcome: &RedriveOutcome, max_failures: Option<u32>) -> Summary {
        let mut shared = self.lock();
        shared.summary.count(outcome);
        match outcome {
            RedriveOutcome::Failed { .. }
            | RedriveOutcome::Exhausted { .. }
            | RedriveOutcome::NotSent(NotSent::Limited) => {
                shared.failures_in_row = shared.failures_in_row.saturating_add(1);
                if max_failures.is_some_and(|max| shared.failures_in_row >= max) {
                    shared.summary.stopped_early = true;
                }
            }
            RedriveOutcome::Delivered { .. } | RedriveOutcome::Refused { .. } => {
                shared.failures_in_row = 0;
            }
            _ => {}
        }
        shared.summary
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settles a record, again and again until the claim is over, so that a record that was sent is not
/// sent again only because its settlement failed.
async fn settle<St>(
    store: &St,
    id: LetterId,
    fence: u64,
    settlement: Settlement,
    until: Option<Instant>,
) -> Result<(), StoreError>
where
    St: LetterStore + ?Sized,
{
    let mut pause = Duration::from_millis(100);
    let mut again = false;
    loop {
        let error = match store.settle(id, fence, settlement.clone()).await {
            Err(error @ StoreError::Failed(_)) => error,
            // The error may refer to the previous try, whose answer was lost, and not to this try.
            Err(StoreError::StaleFence) if again => match store.get(id).await {
                Ok(Some(record)) if is_of(record.state, &settlement) => return Ok(()),
                Ok(_) => return Err(StoreError::StaleFence),
                Err(error) => error,
            },
            settled => return settled,
        };
        again = true;
        let next = Instant::now() + pause;
        if until.is_some_and(|until| next >= until) {
            return Err(error);
        }
        sleep(pause).await;
        pause = (2 * pause).min(Duration::from_secs(5));
    }
}

/// Whether `state` is the state that `settlement` leads to.
fn is_of(state: State, settlement: &Settlement) -> bool {
    state
        == match *settlement {
            Settlement::Delivered { status } => State::Delivered { status },
            Settlement::Refused { status } => State::Refused { status },
            Settlement::Failed(_) | Settlement::Released => State::Pending,
            Settlement::Exhausted(_) | Settlement::Expired => State::Expired,
        }
}
