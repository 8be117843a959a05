use std::collections::VecDeque;

use crate::{
    Tick,
    quota::{Quota, QuotaRule},
};

/// Workers in front of a queue. The caller tells them what happens when.
///
/// A rejection is also work: the next free worker does it before anything else.
#[derive(Debug)]
pub(crate) struct Server<J> {
    workers: usize,
    busy: usize,
    rejections: usize,
    queue: VecDeque<J>,
    /// How many jobs may wait; `None` if there is no limit.
    room: Option<usize>,
    quota: Option<Quota>,
}

/// What a worker takes up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task<J> {
    Rejection,
    Job(J),
}

/// Why a job was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The queue is full.
    Full,
    /// The quota is used up, for as many seconds as the server says.
    Quota(u64),
}

impl<J> Server<J> {
    pub(crate) fn new(workers: usize, room: Option<usize>, quota: Option<QuotaRule>) -> Self {
        Self {
            workers,
            busy: 0,
            rejections: 0,
            queue: VecDeque::new(),
            room,
            quota: quota.map(Quota::new),
        }
    }

    /// A job arrives: it waits, or comes back with the reason for its rejection.
    pub(crate) fn arrive(&mut self, job: J, now: Tick) -> Result<(), (J, Refusal)> {
        let full = self.busy >= self.workers && Some(self.queue.len()) >= self.room;
        let refusal = if self.room.is_some() && full {
            Refusal::Full
        } else if let Some(Err(seconds)) = self.quota.as_mut().map(|quota| quota.take(now)) {
            Refusal::Quota(seconds)
        } else {
            self.queue.push_back(job);
            return Ok(());
        };
        Err((job, refusal))
    }

    /// Adds the work of telling a client that it was rejected.
    pub(crate) const fn reject(&mut self) {
        self.rejections += 1;
    }

    /// What a free worker takes up now. Call it until it returns nothing more.
    pub(crate) fn next(&mut self) -> Option<Task<J>> {
        if self.busy >= self.workers {
            return None;
        }
        let task = if self.rejections > 0 {
            self.rejections -= 1;
            Task::Rejection
        } else {
            Task::Job(self.queue.pop_front()?)
        };
        self.busy += 1;
        Some(task)
    }

    /// A worker has finished its task.
    pub(crate) const fn done(&mut self) {
        self.busy -= 1;
    }

    /// Sets the number of workers. Workers that are busy finish their task.
    pub(crate) const fn set_workers(&mut self, workers: usize) {
        self.workers = workers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_served_in_their_order_by_as_many_as_there_are() {
        let mut server = Server::new(2, None, None);
        for job in 0..4 {
            assert_eq!(server.arrive(job, 0), Ok(()));
        }
        assert_eq!(server.next(), Some(Task::Job(0)));
        assert_eq!(server.next(), Some(Task::Job(1)));
        assert_eq!(server.next(), None);
        server.set_workers(1);
        server.done();
        assert_eq!(server.next(), None);
        server.done();
        assert_eq!(server.next(), Some(Task::Job(2)));
    }

    #[test]
    fn a_full_queue_refuses_and_saying_so_comes_first() {
        let mut server = Server::new(1, Some(1), None);
        assert_eq!(server.arrive('a', 0), Ok(()));
        assert_eq!(server.next(), Some(Task::Job('a')));
        assert_eq!(server.arrive('b', 0), Ok(()));
        assert_eq!(server.arrive('c', 0), Err(('c', Refusal::Full)));
        server.reject();
        server.done();
        assert_eq!(server.next(), Some(Task::Rejection));
        server.done();
        assert_eq!(server.next(), Some(Task::Job('b')));
    }
}
