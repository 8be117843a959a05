use std::{
    collections::HashSet,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use courteous_dead_letter::{Claim, Claimed, Letter, LetterId};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout, timeout_at},
};

use crate::spill::Spill;
use crate::{
    connect::Driver,
    error::{PostgresError, QueryError},
    insert::insert,
    job::{Ask, Job},
    look::claim,
    schema::prepare,
    session::Session,
    settings::Settings,
    settle::settle,
    waiting::{Waiting, batch},
};

/// The most bytes of bodies that one statement writes, unless a single letter has more.
const BATCH_BYTES: usize = 4 << 20;
/// How often a job may meet a broken connection or a deadlock.
const TRIES: u32 = 3;
/// The first pause between two attempts to connect, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// As good as for ever, and short enough that every deadline can be represented.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// What can be seen of the thread from outside.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) connected: AtomicBool,
    pub(crate) spilled: AtomicU64,
    pub(crate) rejected: AtomicU64,
}

/// The thread's work. It has one connection, does what the handles ask, and hands over spilled
/// letters.
pub(crate) struct Worker {
    settings: Settings,
    jobs: UnboundedReceiver<Job>,
    pub(crate) gauge: Arc<Gauge>,
    waiting: Waiting,
    /// There are handles.
    is_open: bool,
    pub(crate) spill: Option<Spill>,
    /// The last spilled letter that was looked at, and when to look for more.
    pub(crate) drained: Option<LetterId>,
    pub(crate) drain_at: Instant,
}

/// The connection is of no use any more.
pub(crate) struct Lost;

impl Worker {
    pub(crate) fn new(settings: Settings, jobs: UnboundedReceiver<Job>, gauge: Arc<Gauge>) -> Self {
        Self {
            spill: settings.spill.clone(),
            settings,
            jobs,
            gauge,
            waiting: Waiting::default(),
            is_open: true,
            drained: None,
            drain_at: Instant::now(),
        }
    }

    /// Works until the last handle is gone, and every job is done.
    pub(crate) async fn run(mut self) {
        if let Some(spill) = &mut self.spill {
            // If the spill cannot be read now, it is counted again after the first letter was
            // spilled and handed over.
            drop(spill.recount().await);
        }
        let mut pause = PAUSES.0;
        while self.has_work().await {
            match self.connect().await {
                Ok((session, driver)) => {
                    pause = PAUSES.0;
                    self.gauge.connected.store(true, Relaxed);
                    self.serve(&session, driver).await;
                    self.gauge.connected.store(false, Relaxed);
                }
                Err(failure) => {
                    self.be_away(&failure, pause).await;
                    pause = (2 * pause).min(PAUSES.1);
                }
            }
        }
    }

    /// Waits for work. Returns `false` when there can be no more. Spilled letters then wait for the
    /// next process.
    async fn has_work(&mut self) -> bool {
        while self.waiting.is_empty() {
            if !self.is_open {
                return false;
            }
            if self.is_spilled() {
                return true;
            }
            self.receive(None).await;
        }
        true
    }

    async fn connect(&self) -> Result<(Session, Driver), QueryError> {
        let Settings {
            config,
            connect,
            patience,
            clock,
            ..
        } = &self.settings;
        let Ok(connected) = timeout(*patience, connect.connect(config)).await else {
            return Err(QueryError::Away(PostgresError::silent()));
        };
        let (client, mut driver) = connected?;
        let session = Session::new(client, *patience, clock.clone());
        driver.along(prepare(&session)).await?;
        Ok((session, driver))
    }

    /// Works until the connection is lost, or no work is left.
    async fn serve(&mut self, session: &Session, mut driver: Driver) {
        loop {
            self.receive_all();
            if self.waiting.is_empty() && !self.is_drain_due() {
                if !self.is_open {
                    return;
                }
                let drain_at = self.is_spilled().then_some(self.drain_at);
                if driver.until(self.receive(drain_at)).await.is_none() {
                    return;
                }
                continue;
            }
            if driver.along(self.work(session)).await.is_err() {
                return;
            }
        }
    }

    /// Gives each kind of job one turn.
    async fn work(&mut self, session: &Session) -> Result<(), Lost> {
        self.push(session).await?;
        self.settle(session).await?;
        self.claim(session).await?;
        self.ask(session).await?;
        if self.is_drain_due() {
            self.drain(session).await?;
        }
        self.publish();
        Ok(())
    }

    async fn push(&mut self, session: &Session) -> Result<(), Lost> {
        let mut bytes = 0;
        let batch = batch(&mut self.waiting.pushes, |job| match &job.ask {
            Ask::Push(letter, _) => {
                bytes += letter.payload.bytes().len();
                bytes <= BATCH_BYTES
            }
            _ => false,
        });
        if batch.is_empty() {
            return Ok(());
        }
        let letters: Vec<&Letter> = batch.iter().filter_map(Job::letter).collect();
        match insert(session, &letters).await {
            Ok(()) => batch.into_iter().for_each(Job::done),
            Err(failure @ QueryError::NoRoom(_)) if self.spill.is_some() => {
                self.rest();
                self.spill_over(batch, &failure).await;
            }
            Err(failure @ QueryError::Refused(_)) if batch.len() > 1 && !failure.is_of_all() => {
                // One of the letters is at fault. So each letter goes alone next time.
                self.waiting
                    .pushes
                    .extend(batch.into_iter().map(Job::again));
            }
            Err(failure) => return self.put_back(batch, failure).await,
        }
        Ok(())
    }

    async fn settle(&mut self, session: &Session) -> Result<(), Lost> {
        let mut ids = HashSet::new();
        let batch = batch(&mut self.waiting.settles, |job| match &job.ask {
            Ask::Settle(settle, _) => ids.insert(settle.id),
            _ => false,
        });
        if batch.is_empty() {
            return Ok(());
        }
        let again = batch.iter().any(|job| job.tries > 0);
        let settles: Vec<_> = batch.iter().filter_map(Job::outcome).collect();
        match settle(session, &settles, again).await {
            Ok(answers) => {
                for (job, answer) in batch.into_iter().zip(answers) {
                    match answer {
                        Ok(()) => job.done(),
                        Err(error) => job.fail(error),
                    }
                }
            }
            Err(failure) => return self.put_back(batch, failure).await,
        }
        Ok(())
    }

    /// Combines claims that are alike into one larger claim. The claims of one redrive's workers
    /// are alike. The first of them gets the oldest records.
    async fn claim(&mut self, session: &Session) -> Result<(), Lost> {
        self.waiting.claims.retain(|job| !job.is_forgotten());
        let first = self.waiting.claims.front().and_then(Job::claim);
        let Some(mut all) = first.cloned() else {
            return Ok(());
        };
        let is_alike = |claim: &Claim| {
            let mut claim = claim.clone();
            claim.max = all.max;
            claim == all
        };
        let batch = batch(&mut self.waiting.claims, |job| {
            job.claim().is_some_and(is_alike)
        });
        let max = |job: &Job| job.claim().map_or(0, |claim| claim.max);
        all.max = batch.iter().map(max).fold(0, u32::saturating_add);
        match claim(session, &all).await {
            Ok(claimed) => {
                let mut records = claimed.records.into_iter();
                let mut unreadable = claimed.unreadable;
                for job in batch {
                    let some: Vec<_> = records.by_ref().take(max(&job) as usize).collect();
                    let mut claimed = Claimed::from(some);
                    // Only the first claim reports the unreadable records: once is enough.
                    claimed.unreadable = std::mem::take(&mut unreadable);
                    job.claimed(claimed);
                }
            }
            Err(failure) => return self.put_back(batch, failure).await,
        }
        Ok(())
    }

    async fn ask(&mut self, session: &Session) -> Result<(), Lost> {
        let Some(mut job) = self.waiting.others.pop_front() else {
            return Ok(());
        };
        if job.is_forgotten() {
            return Ok(());
        }
        let Ask::Other(question) = &mut job.ask else {
            return Ok(());
        };
        match question.ask(session).await {
            Ok(()) => job.done(),
            Err(failure) => return self.put_back(vec![job], failure).await,
        }
        Ok(())
    }

    /// Decides what to do with jobs that failed with `failure`: try again, spill or fail.
    async fn put_back(&mut self, batch: Vec<Job>, failure: QueryError) -> Result<(), Lost> {
        let may_try = matches!(failure, QueryError::Away(_) | QueryError::Again(_));
        let batch = batch.into_iter().map(Job::again);
        let (again, over) = batch.partition::<Vec<_>, _>(|job| may_try && job.tries < TRIES);
        for job in again.into_iter().rev() {
            self.waiting.put_first(job);
        }
        self.spill_over(over, &failure).await;
        match failure {
            QueryError::Away(_) => Err(Lost),
            _ => Ok(()),
        }
    }

    /// Spends `pause` without a connection.
    async fn be_away(&mut self, failure: &QueryError, pause: Duration) {
        let until = Instant::now() + pause;
        #[cfg(feature = "tracing")]
        tracing::warn!(
            name: "away",
            target: "courteous::dead_letter_postgres",
            error = %failure,
            "the database of dead letters cannot be used"
        );
        loop {
            self.receive_all();
            if self.spill.is_some() {
                let pushes = self.waiting.pushes.drain(..).collect();
                self.spill_over(pushes, failure).await;
            }
            self.fail_overdue(failure);
            self.publish();
            if Instant::now() >= until || (self.waiting.is_empty() && !self.is_open) {
                return;
            }
            let overdue = self.waiting.deadline();
            let wake = overdue.map_or(until, |overdue| until.min(overdue));
            self.receive(Some(wake)).await;
        }
    }

    /// Fails the jobs that have waited long enough. Fails all jobs if waiting does not help,
    /// because the tables or the user are at fault.
    fn fail_overdue(&mut self, failure: &QueryError) {
        let lasts = matches!(failure, QueryError::Refused(_) | QueryError::Found(_));
        let now = Instant::now();
        for job in self.waiting.take(|job| lasts || job.deadline <= now) {
            job.fail(failure.to_error());
        }
    }

    fn publish(&self) {
        let spilled = self.spill.as_ref().map_or(0, Spill::count);
        self.gauge.spilled.store(spilled, Relaxed);
    }

    /// Waits for a job, until `wake` at the longest.
    async fn receive(&mut self, wake: Option<Instant>) {
        let received = {
            let receive = async {
                match self.is_open {
                    true => self.jobs.recv().await,
                    false => pending().await,
                }
            };
            match wake {
                None => Some(receive.await),
                Some(wake) => timeout_at(wake, receive).await.ok(),
            }
        };
        match received {
            None => {}
            Some(Some(job)) => self.take(job),
            Some(None) => self.is_open = false,
        }
    }

    fn receive_all(&mut self) {
        while let Ok(job) = self.jobs.try_recv() {
            self.take(job);
        }
    }

    fn take(&mut self, mut job: Job) {
        job.deadline = Instant::now() + self.settings.patience.min(FAR);
        self.waiting.of(&job).push_back(job);
    }
}
