use std::{
    mem,
    ops::Add,
    process,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The queue of jobs from the handles to the thread. It is bounded. Jobs that the thread has taken
/// count until it takes more.
pub(crate) struct Queue<J> {
    state: Mutex<State<J>>,
    /// Notified when a job was added, or the queue was closed.
    asked: Condvar,
    /// Notified when the thread has ended.
    ended: Condvar,
    limits: Limits,
    /// The process that has the thread. A forked process has no thread.
    process: u32,
}

/// The most jobs that may be under way at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) letters: usize,
    pub(crate) bytes: usize,
    /// The most other jobs. Each caller waits for its answer, so only very many callers reach this
    /// bound.
    pub(crate) others: usize,
}

/// The jobs that are under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) letters: usize,
    pub(crate) bytes: usize,
    others: usize,
}

/// How a job counts towards the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weight {
    /// A letter with this many bytes.
    Letter(usize),
    Other,
}

/// Why a job was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    Full,
    Closed,
}

struct State<J> {
    jobs: Vec<J>,
    waiting: Load,
    taken: Load,
    rejected: u64,
    closed: bool,
    ended: bool,
}

impl<J> Queue<J> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: Vec::new(),
                waiting: Load::default(),
                taken: Load::default(),
                rejected: 0,
                closed: false,
                ended: false,
            }),
            asked: Condvar::new(),
            ended: Condvar::new(),
            limits,
            process: process::id(),
        }
    }

    /// Whether this is a copy in a forked process. Then no thread takes jobs, and the lock may be
    /// held for ever.
    pub(crate) fn is_forked(&self) -> bool {
        self.process != process::id()
    }

    /// Adds a job, if there is room.
    pub(crate) fn ask(&self, job: J, weight: Weight) -> Result<(), Rejection> {
        if self.is_forked() {
            return Err(Rejection::Closed);
        }
        let mut state = self.lock();
        if state.closed {
            return Err(Rejection::Closed);
        }
        if !(state.waiting + state.taken).has_room(weight, self.limits) {
            state.rejected += u64::from(matches!(weight, Weight::Letter(_)));
            return Err(Rejection::Full);
        }
        state.waiting = state.waiting + weight.into();
        state.jobs.push(job);
        drop(state);
        self.asked.notify_one();
        Ok(())
    }

    /// Waits for jobs, and takes all of them, in order. Returns `None` when there can be no more.
    pub(crate) fn take(&self) -> Option<Vec<J>> {
        let mut state = self.lock();
        state.taken = Load::default();
        while state.jobs.is_empty() && !state.closed {
            state = self
                .asked
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.taken = mem::take(&mut state.waiting);
        let jobs = mem::take(&mut state.jobs);
        (!jobs.is_empty()).then_some(jobs)
    }

    /// Closes the queue: further jobs are rejected.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.asked.notify_one();
    }

    /// Ends the queue with its thread: the jobs that are left are dropped.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ended = true;
        let left = mem::take(&mut state.jobs);
        drop(state);
        self.ended.notify_all();
        // This is not done under the lock: it wakes the callers that wait for these jobs, and they
        // may do anything.
        drop(left);
    }

    /// Waits for the thread's end, but not longer than `at_most`.
    pub(crate) fn wait_for_end(&self, at_most: Duration) {
        let state = self.lock();
        drop(
            self.ended
                .wait_timeout_while(state, at_most, |state| !state.ended),
        );
    }

    pub(crate) fn load(&self) -> Load {
        let state = self.lock();
        state.waiting + state.taken
    }

    /// How many letters were rejected because the queue was full.
    pub(crate) fn rejected(&self) -> u64 {
        self.lock().rejected
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// A letter that is larger than the whole bound is taken when it is alone: it is in memory
    /// already.
    const fn has_room(self, weight: Weight, limits: Limits) -> bool {
        match weight {
            Weight::Letter(bytes) => {
                let fits = self.bytes.saturating_add(bytes) <= limits.bytes;
                self.letters < limits.letters && (fits || self.letters == 0)
            }
            Weight::Other => self.others < limits.others,
        }
    }
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            letters: self.letters + other.letters,
            bytes: self.bytes.saturating_add(other.bytes),
            others: self.others + other.others,
        }
    }
}

impl From<Weight> for Load {
    fn from(weight: Weight) -> Self {
        let (letters, bytes, others) = match weight {
            Weight::Letter(bytes) => (1, bytes, 0),
            Weight::Other => (0, 0, 1),
        };
        Self {
            letters,
            bytes,
            others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        letters: 3,
        bytes: 100,
        others: 1,
    };

    #[test]
    fn what_is_under_way_is_bounded_by_count_and_by_bytes() {
        let queue = Queue::new(LIMITS);
        queue.ask(1, Weight::Letter(60)).unwrap();
        assert_eq!(queue.ask(2, Weight::Letter(41)), Err(Rejection::Full));
        queue.ask(3, Weight::Letter(40)).unwrap();
        queue.ask(4, Weight::Letter(0)).unwrap();
        assert_eq!(queue.ask(5, Weight::Letter(0)), Err(Rejection::Full));
        assert_eq!(queue.rejected(), 2);
        // Other jobs have their own room.
        queue.ask(6, Weight::Other).unwrap();
        assert_eq!(queue.ask(7, Weight::Other), Err(Rejection::Full));

        assert_eq!(queue.take().unwrap(), [1, 3, 4, 6]);
        // Jobs that were taken count until they are done.
        assert_eq!(queue.ask(8, Weight::Letter(0)), Err(Rejection::Full));
        queue.close();
        assert!(queue.take().is_none());
        assert_eq!(queue.load(), Load::default());
    }

    #[test]
    fn a_queue_in_a_forked_process_is_closed_even_while_its_lock_is_held() {
        let mut queue = Queue::new(LIMITS);
        queue.process = 0;
        let _held = queue.lock();
        assert_eq!(queue.ask(1, Weight::Letter(0)), Err(Rejection::Closed));
        assert_eq!(queue.ask(1, Weight::Other), Err(Rejection::Closed));
    }

    #[test]
    fn a_letter_above_all_bytes_goes_alone() {
        let queue = Queue::new(LIMITS);
        queue.ask(1, Weight::Letter(1_000)).unwrap();
        assert_eq!(queue.ask(2, Weight::Letter(1)), Err(Rejection::Full));
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = Queue::new(LIMITS);
        queue.ask(1, Weight::Other).unwrap();
        queue.close();
        assert_eq!(queue.ask(2, Weight::Letter(0)), Err(Rejection::Closed));
        assert_eq!(queue.take().unwrap(), [1]);
        assert!(queue.take().is_none());
    }
}
