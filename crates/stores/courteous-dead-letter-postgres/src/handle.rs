use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use courteous_dead_letter::{BoxFuture, Claim, Claimed, Letter, PushError, StoreError};
use tokio::{
    runtime::Builder,
    sync::{
        Semaphore,
        mpsc::{UnboundedSender, error::SendError, unbounded_channel},
        oneshot, watch,
    },
};

use crate::{
    error::QueryError,
    job::{Ask, Asked, Job, Room},
    session::Session,
    settings::Settings,
    settle::Settle,
    worker::{Gauge, Worker},
};

/// What the clones of a store share. The thread ends when this is dropped.
pub(crate) struct Handle {
    settings: Settings,
    thread: Mutex<Option<Thread>>,
    letters: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    others: Arc<Semaphore>,
    /// Each letter that is on its way holds a receiver of this channel.
    pushing: watch::Sender<()>,
    gauge: Arc<Gauge>,
}

/// The thread. It ends when `jobs` is dropped and no work is left. Then `end` is disconnected.
struct Thread {
    jobs: UnboundedSender<Job>,
    end: Receiver<()>,
}

/// How long the drop of the last handle waits until letters are written. It blocks a thread of the
/// caller.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// The most jobs other than letters. Each caller waits for its answer, so only very many callers
/// reach this bound. Further callers wait.
const OTHERS: usize = 1024;

/// The bytes that a letter takes without its body, roughly.
const LETTER: usize = 1024;

impl Handle {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            letters: Arc::new(Semaphore::new(settings.letters)),
            bytes: Arc::new(Semaphore::new(settings.bytes as usize)),
            others: Arc::new(Semaphore::new(OTHERS)),
            pushing: watch::Sender::new(()),
            thread: Mutex::new(None),
            gauge: Arc::default(),
            settings,
        }
    }

    pub(crate) fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
        // A letter that is larger than the whole bound is taken when it is alone: it is in memory
        // already.
        let size = letter.payload.bytes().len().saturating_add(LETTER);
        let size =
            u32::try_from(size).map_or(self.settings.bytes, |size| size.min(self.settings.bytes));
        let room = || {
            let letter = Arc::clone(&self.letters).try_acquire_owned().ok()?;
            let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(size).ok()?;
            Some(Room {
                _permits: vec![letter, bytes],
                _pushing: Some(self.pushing.subscribe()),
            })
        };
        let Some(room) = room() else {
            self.gauge.rejected.fetch_add(1, Relaxed);
            return Box::pin(std::future::ready(Err(PushError::Full)));
        };
        let (reply, answer) = oneshot::channel();
        self.send(Ask::Push(Box::new(letter), reply), room);
        Box::pin(async move { answer.await.unwrap_or(Err(PushError::Closed)) })
    }

    /// Waits until no letter is on its way.
    pub(crate) async fn flush(&self) {
        self.pushing.closed().await;
    }

    pub(crate) async fn settle(&self, settle: Settle) -> Result<(), StoreError> {
        let room = self.room().await?;
        let (reply, answer) = oneshot::channel();
        self.send(Ask::Settle(Box::new(settle), reply), room);
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(crate) async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let room = self.room().await?;
        let (reply, answer) = oneshot::channel();
        self.send(Ask::Claim(Box::new(claim), reply), room);
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(crate) async fn ask<F, T>(&self, ask: F) -> Result<T, StoreError>
    where
        F: for<'a> FnMut(&'a Session) -> BoxFuture<'a, Result<T, QueryError>> + Send + 'static,
        T: Send + 'static,
    {
        let room = self.room().await?;
        let (reply, answer) = oneshot::channel();
        self.send(Ask::Other(Box::new(Asked::new(ask, reply))), room);
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The number of letters that wait, and their bytes.
    pub(crate) fn load(&self) -> (usize, usize) {
        let letters = self.settings.letters - self.letters.available_permits();
        let bytes = self.settings.bytes as usize - self.bytes.available_permits();
        (letters, bytes)
    }

    pub(crate) fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    async fn room(&self) -> Result<Room, StoreError> {
        let room = Arc::clone(&self.others).acquire_owned().await;
        // The semaphore is never closed.
        let room = room.map_err(|_| StoreError::Closed)?;
        Ok(Room {
            _permits: vec![room],
            _pushing: None,
        })
    }

    /// Hands a job to the thread. Starts the thread if there is none: at first, and after a panic.
    fn send(&self, ask: Ask, room: Room) {
        let job = Job::new(ask, room);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match &*thread {
            Some(thread) => match thread.jobs.send(job) {
                Ok(()) => return,
                Err(SendError(job)) => job,
            },
            None => job,
        };
        let failed = match self.start() {
            // The thread has just been started, so it takes the job.
            Ok(started) => {
                let sent = thread.insert(started).jobs.send(job);
                sent.err().map(|SendError(job)| (job, StoreError::Closed))
            }
            Err(error) => Some((job, StoreError::failed(error))),
        };
        // A failure wakes the task that asked, and that task may do anything. So this is not done
        // under the lock.
        drop(thread);
        if let Some((job, error)) = failed {
            job.fail(error);
        }
    }

    /// Starts a thread with its own runtime, so that the store works from any runtime, from several
    /// in turn, and from none.
    fn start(&self) -> io::Result<Thread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (jobs, receiver) = unbounded_channel();
        let (ended, end) = sync_channel(0);
        let (settings, gauge) = (self.settings.clone(), Arc::clone(&self.gauge));
        thread::Builder::new()
            .name("dead-letter-pg".to_owned())
            .spawn(move || {
                runtime.block_on(Worker::new(settings, receiver, gauge).run());
                drop::<SyncSender<()>>(ended);
            })?;
        Ok(Thread { jobs, end })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let has_letters = self.load().0 > 0;
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(Thread { jobs, end }) = thread.take() {
            drop(jobs);
            if has_letters {
                // Nothing is ever sent. Either the thread has ended, or the wait is over.
                let _ = end.recv_timeout(DROP_WAIT);
            }
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
