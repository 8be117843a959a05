use std::{
    collections::{HashSet, VecDeque},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout, timeout_at},
};

use super::{
    connect::Driver,
    error::{Fault, PostgresError},
    insert::insert,
    job::{Ask, Job},
    schema::prepare,
    session::Session,
    settings::Settings,
    settle::settle,
};
use crate::{Letter, LetterId, spill::Spill};

/// The most letters, or outcomes, that one statement writes.
const BATCH: usize = 256;
/// The most bytes of bodies that one statement writes, unless a single letter has more.
const BATCH_BYTES: usize = 4 << 20;
/// How often a job may find the connection broken, or a deadlock.
const TRIES: u32 = 3;
/// The first pause between two attempts to connect, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How long what is spilled is left alone after it could not be handed over.
const REST: Duration = Duration::from_secs(5);

/// What can be seen of the thread from outside.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub(super) connected: AtomicBool,
    pub(super) spilled: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// The thread's work: has one connection, does what the handles ask, and hands over what was spilled.
pub(super) struct Worker {
    settings: Settings,
    jobs: UnboundedReceiver<Job>,
    gauge: Arc<Gauge>,
    waiting: Waiting,
    /// There are handles.
    is_open: bool,
    spill: Option<Spill>,
    /// The last spilled letter that was looked at, and when to look for more.
    drained: Option<LetterId>,
    drain_at: Instant,
}

/// What was asked and is not done, by kind: each kind has its turn.
#[derive(Default)]
struct Waiting {
    pushes: VecDeque<Job>,
    settles: VecDeque<Job>,
    others: VecDeque<Job>,
}

/// The connection is of no use any more.
struct Lost;

impl Worker {
    pub(super) fn new(settings: Settings, jobs: UnboundedReceiver<Job>, gauge: Arc<Gauge>) -> Self {
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

    /// Until the last handle is gone, and all that was asked is done.
    pub(super) async fn run(mut self) {
        if let Some(spill) = &mut self.spill {
            // If it cannot be read now, it is looked into when the first letter was handed over.
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
                Err(fault) => {
                    self.be_away(&fault, pause).await;
                    pause = (2 * pause).min(PAUSES.1);
                }
            }
        }
    }

    /// Waits for work; `false` when there can be no more. What is spilled waits for the next process then.
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

    async fn connect(&self) -> Result<(Session, Driver), Fault> {
        let Settings {
            config,
            connect,
            patience,
            clock,
            ..
        } = &self.settings;
        let Ok(connected) = timeout(*patience, connect.connect(config)).await else {
            return Err(Fault::Away(PostgresError::silent()));
        };
        let (client, mut driver) = connected?;
        let session = Session::new(client, *patience, clock.clone());
        driver.along(prepare(&session)).await?;
        Ok((session, driver))
    }

    /// Works until the connection is lost, or there is nothing more to be done.
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

    /// One turn of each kind.
    async fn work(&mut self, session: &Session) -> Result<(), Lost> {
        self.push(session).await?;
        self.settle(session).await?;
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
            Err(fault @ Fault::NoRoom(_)) if self.spill.is_some() => {
                self.rest();
                self.spill_over(batch, &fault).await;
            }
            Err(Fault::Refused(_)) if batch.len() > 1 => {
                // One of them is at fault, and goes alone then.
                self.waiting
                    .pushes
                    .extend(batch.into_iter().map(Job::again));
            }
            Err(fault) => return self.put_back(batch, fault).await,
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
            Err(fault) => return self.put_back(batch, fault).await,
        }
        Ok(())
    }

    async fn ask(&mut self, session: &Session) -> Result<(), Lost> {
        let Some(mut job) = self.waiting.others.pop_front() else {
            return Ok(());
        };
        let Ask::Other(question) = &mut job.ask else {
            return Ok(());
        };
        if question.is_forgotten() {
            return Ok(());
        }
        match question.ask(session).await {
            Ok(()) => job.done(),
            Err(fault) => return self.put_back(vec![job], fault).await,
        }
        Ok(())
    }

    /// Finds what to do with jobs that failed by `fault`.
    async fn put_back(&mut self, batch: Vec<Job>, fault: Fault) -> Result<(), Lost> {
        let may_try = matches!(fault, Fault::Away(_) | Fault::Again(_));
        let batch = batch.into_iter().map(Job::again);
        let (again, over) = batch.partition::<Vec<_>, _>(|job| may_try && job.tries < TRIES);
        for job in again.into_iter().rev() {
            self.waiting.put_first(job);
        }
        match fault {
            Fault::Refused(_) | Fault::Found(_) => {
                over.into_iter().for_each(|job| job.fail(fault.to_error()));
            }
            _ => self.spill_over(over, &fault).await,
        }
        match fault {
            Fault::Away(_) => Err(Lost),
            _ => Ok(()),
        }
    }

    /// Holds out without a connection for `pause`.
    async fn be_away(&mut self, fault: &Fault, pause: Duration) {
        let until = Instant::now() + pause;
        #[cfg(feature = "tracing")]
        tracing::warn!(?fault, "the database of dead letters cannot be used");
        loop {
            self.receive_all();
            if self.spill.is_some() {
                let pushes = self.waiting.pushes.drain(..).collect();
                self.spill_over(pushes, fault).await;
            }
            self.fail_overdue(fault);
            self.publish();
            if Instant::now() >= until || (self.waiting.is_empty() && !self.is_open) {
                return;
            }
            let overdue = self.waiting.deadline();
            let wake = overdue.map_or(until, |overdue| until.min(overdue));
            self.receive(Some(wake)).await;
        }
    }

    /// Keeps the letters among these on this machine, and fails the rest.
    async fn spill_over(&mut self, batch: Vec<Job>, fault: &Fault) {
        let Some(spill) = &mut self.spill else {
            batch.into_iter().for_each(|job| job.fail(fault.to_error()));
            return;
        };
        let (pushes, others) = batch
            .into_iter()
            .partition::<Vec<_>, _>(|job| job.letter().is_some());
        others
            .into_iter()
            .for_each(|job| job.fail(fault.to_error()));
        let letters = pushes.iter().filter_map(Job::letter).cloned().collect();
        let kept = spill.keep(letters).await;
        for (job, kept) in pushes.into_iter().zip(kept) {
            match kept {
                Ok(()) => job.done(),
                Err(error) => {
                    self.gauge.refused.fetch_add(1, Relaxed);
                    job.refuse(error);
                }
            }
        }
    }

    /// Hands over some of what was spilled.
    async fn drain(&mut self, session: &Session) -> Result<(), Lost> {
        let Some(spill) = &mut self.spill else {
            return Ok(());
        };
        let Ok(letters) = spill.next(self.drained, BATCH as u32).await else {
            self.rest();
            return Ok(());
        };
        let Some(last) = letters.last().map(|letter| letter.id) else {
            // The end. What is left was refused by the database, or is not there any more.
            drop(spill.recount().await);
            self.drained = None;
            self.rest();
            return Ok(());
        };
        let handed_over = match insert_some(session, &letters).await {
            Ok(ids) => ids,
            Err(Fault::Away(_)) => return Err(Lost),
            Err(_) => {
                self.rest();
                return Ok(());
            }
        };
        let forgotten = spill.forget(&handed_over).await;
        self.drained = (spill.count() > 0).then_some(last);
        if forgotten.is_err() {
            self.rest();
        }
        Ok(())
    }

    /// Leaves what is spilled alone for a while.
    fn rest(&mut self) {
        self.drain_at = Instant::now() + REST;
    }

    fn is_spilled(&self) -> bool {
        self.spill.as_ref().is_some_and(|spill| spill.count() > 0)
    }

    fn is_drain_due(&self) -> bool {
        self.is_spilled() && Instant::now() >= self.drain_at
    }

    /// Gives up what has waited long enough; all, if waiting does not help: the tables, or the user, are at fault.
    fn fail_overdue(&mut self, fault: &Fault) {
        let lasts = matches!(fault, Fault::Refused(_) | Fault::Found(_));
        let now = Instant::now();
        for job in self.waiting.take(|job| lasts || job.deadline <= now) {
            job.fail(fault.to_error());
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
        let deadline = Instant::now().checked_add(self.settings.patience);
        job.deadline = deadline.unwrap_or(job.deadline);
        self.waiting.of(&job).push_back(job);
    }
}

impl Waiting {
    fn of(&mut self, job: &Job) -> &mut VecDeque<Job> {
        match job.ask {
            Ask::Push(..) => &mut self.pushes,
            Ask::Settle(..) => &mut self.settles,
            Ask::Other(_) => &mut self.others,
        }
    }

    fn put_first(&mut self, job: Job) {
        self.of(&job).push_front(job);
    }

    fn is_empty(&self) -> bool {
        self.pushes.is_empty() && self.settles.is_empty() && self.others.is_empty()
    }

    /// The instant at which the first of them is overdue.
    fn deadline(&self) -> Option<Instant> {
        let jobs = self.pushes.iter().chain(&self.settles).chain(&self.others);
        jobs.map(|job| job.deadline).min()
    }

    fn take(&mut self, choose: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        for queue in [&mut self.pushes, &mut self.settles, &mut self.others] {
            let (chosen, left) = queue.drain(..).partition::<Vec<_>, _>(&choose);
            taken.extend(chosen);
            queue.extend(left);
        }
        taken
    }
}

/// The first jobs, as long as they fit together. One that was tried before goes alone.
fn batch(queue: &mut VecDeque<Job>, mut fits: impl FnMut(&Job) -> bool) -> Vec<Job> {
    let mut batch = Vec::new();
    while let Some(job) = queue.front()
        && batch.len() < BATCH
        && (fits(job) && job.tries == 0 || batch.is_empty())
        && let Some(job) = queue.pop_front()
    {
        let alone = job.tries > 0;
        batch.push(job);
        if alone {
            break;
        }
    }
    batch
}

/// Writes letters, all at once if that is possible, and returns the ids of those that were not refused.
async fn insert_some(session: &Session, letters: &[Letter]) -> Result<Vec<LetterId>, Fault> {
    let all: Vec<_> = letters.iter().collect();
    match insert(session, &all).await {
        Err(Fault::Refused(_)) => {}
        done => return done.map(|()| letters.iter().map(|letter| letter.id).collect()),
    }
    let mut ids = Vec::new();
    for letter in letters {
        match insert(session, &[letter]).await {
            Ok(()) => ids.push(letter.id),
            Err(Fault::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(ids)
}
