use std::{
    mem,
    ops::Add,
    process,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What the handles ask of the thread. It is bounded, and what the thread has taken counts until it comes for more.
pub(crate) struct Queue<J> {
    state: Mutex<State<J>>,
    /// Something was asked, or the queue was closed.
    asked: Condvar,
    /// The thread has ended.
    ended: Condvar,
    limits: Limits,
    /// Where the thread is. A process that was forked from it has none.
    process: u32,
}

/// How much may be under way at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) letters: usize,
    pub(crate) bytes: usize,
    /// Everything else. Who asks for it waits for the answer, so that only very many callers get there.
    pub(crate) others: usize,
}

/// What is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) letters: usize,
    pub(crate) bytes: usize,
    others: usize,
}

/// What a job is, for the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weight {
    /// A letter of so many bytes.
    Letter(usize),
    Other,
}

/// Why a job was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
}

struct State<J> {
    jobs: Vec<J>,
    waiting: Load,
    taken: Load,
    refused: u64,
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
                refused: 0,
                closed: false,
                ended: false,
            }),
            asked: Condvar::new(),
            ended: Condvar::new(),
            limits,
            process: process::id(),
        }
    }

    /// Whether this is a copy in a forked process: no thread takes anything, and the lock may be held for ever.
    pub(crate) fn is_forked(&self) -> bool {
        self.process != process::id()
    }

    /// Lets a job in, if there is room.
    pub(crate) fn ask(&self, job: J, weight: Weight) -> Result<(), Refusal> {
        if self.is_forked() {
            return Err(Refusal::Closed);
        }
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        if !(state.waiting + state.taken).has_room(weight, self.limits) {
            state.refused += u64::from(matches!(weight, Weight::Letter(_)));
            return Err(Refusal::Full);
        }
        state.waiting = state.waiting + weight.into();
        state.jobs.push(job);
        drop(state);
        self.asked.notify_one();
        Ok(())
    }

    /// Waits for jobs, and takes all that there are, in their order; `None` when there can be no more.
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

    /// Lets nothing in any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.asked.notify_one();
    }

    /// The thread ends: nobody will take what is left.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ended = true;
        let left = mem::take(&mut state.jobs);
        drop(state);
        self.ended.notify_all();
        // Not under the lock: whoever waits for one of them is woken, and may do anything.
        drop(left);
    }

    /// Waits for the thread's end, so long at the most.
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

    /// How many letters were refused because the queue was full.
    pub(crate) fn refused(&self) -> u64 {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// A letter that is larger than all letters may be together goes alone: it is in memory already.
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
        assert_eq!(queue.ask(2, Weight::Letter(41)), Err(Refusal::Full));
        queue.ask(3, Weight::Letter(40)).unwrap();
        queue.ask(4, Weight::Letter(0)).unwrap();
        assert_eq!(queue.ask(5, Weight::Letter(0)), Err(Refusal::Full));
        assert_eq!(queue.refused(), 2);
        // The rest has room of its own.
        queue.ask(6, Weight::Other).unwrap();
        assert_eq!(queue.ask(7, Weight::Other), Err(Refusal::Full));

        assert_eq!(queue.take().unwrap(), [1, 3, 4, 6]);
        // What was taken counts until it is done.
        assert_eq!(queue.ask(8, Weight::Letter(0)), Err(Refusal::Full));
        queue.close();
        assert!(queue.take().is_none());
        assert_eq!(queue.load(), Load::default());
    }

    #[test]
    fn a_queue_in_a_forked_process_is_closed_even_while_its_lock_is_held() {
        let mut queue = Queue::new(LIMITS);
        queue.process = 0;
        let _held = queue.lock();
        assert_eq!(queue.ask(1, Weight::Letter(0)), Err(Refusal::Closed));
        assert_eq!(queue.ask(1, Weight::Other), Err(Refusal::Closed));
    }

    #[test]
    fn a_letter_above_all_bytes_goes_alone() {
        let queue = Queue::new(LIMITS);
        queue.ask(1, Weight::Letter(1_000)).unwrap();
        assert_eq!(queue.ask(2, Weight::Letter(1)), Err(Refusal::Full));
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = Queue::new(LIMITS);
        queue.ask(1, Weight::Other).unwrap();
        queue.close();
        assert_eq!(queue.ask(2, Weight::Letter(0)), Err(Refusal::Closed));
        assert_eq!(queue.take().unwrap(), [1]);
        assert!(queue.take().is_none());
    }
}
