use std::collections::VecDeque;

use tokio::time::Instant;

use crate::job::{Ask, Job};

/// The most letters, or outcomes, that one statement writes.
pub(crate) const BATCH: usize = 256;

/// The jobs that are not done, by kind. Each kind has its turn.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) pushes: VecDeque<Job>,
    pub(crate) settles: VecDeque<Job>,
    pub(crate) claims: VecDeque<Job>,
    pub(crate) others: VecDeque<Job>,
}

impl Waiting {
    /// The queue that a job belongs to.
    pub(crate) fn of(&mut self, job: &Job) -> &mut VecDeque<Job> {
        match job.ask {
            Ask::Push(..) => &mut self.pushes,
            Ask::Settle(..) => &mut self.settles,
            Ask::Claim(..) => &mut self.claims,
            Ask::Other(_) => &mut self.others,
        }
    }

    pub(crate) fn put_first(&mut self, job: Job) {
        self.of(&job).push_front(job);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// The instant at which the first job is overdue.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.all().map(|job| job.deadline).min()
    }

    fn all(&self) -> impl Iterator<Item = &Job> {
        let letters = self.pushes.iter().chain(&self.settles);
        letters.chain(&self.claims).chain(&self.others)
    }

    /// Takes out the chosen jobs.
    pub(crate) fn take(&mut self, choose: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        for queue in [
            &mut self.pushes,
            &mut self.settles,
            &mut self.claims,
            &mut self.others,
        ] {
            let (chosen, left) = queue.drain(..).partition::<Vec<_>, _>(&choose);
            taken.extend(chosen);
            queue.extend(left);
        }
        taken
    }
}

/// Takes the first jobs, as long as they fit together. A job that was tried before goes alone.
pub(crate) fn batch(queue: &mut VecDeque<Job>, mut fits: impl FnMut(&Job) -> bool) -> Vec<Job> {
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

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::sync::oneshot;

    use super::{
        super::job::{Asked, Room},
        *,
    };

    fn jobs(tries: impl IntoIterator<Item = u32>) -> VecDeque<Job> {
        let job = |tries| {
            let ask = Asked::new(|_| Box::pin(ready(Ok(()))), oneshot::channel().0);
            let mut job = Job::new(Ask::Other(Box::new(ask)), Room::default());
            job.tries = tries;
            job
        };
        tries.into_iter().map(job).collect()
    }

    #[test]
    fn what_was_tried_before_goes_alone() {
        let mut queue = jobs([0, 0, 1, 1, 0]);
        let sizes: Vec<_> = (0..4).map(|_| batch(&mut queue, |_| true).len()).collect();
        assert_eq!((sizes, queue.len()), (vec![2, 1, 1, 1], 0));
    }

    #[test]
    fn a_batch_is_bounded_and_never_empty() {
        let mut queue = jobs(std::iter::repeat_n(0, BATCH + 2));
        assert_eq!(batch(&mut queue, |_| true).len(), BATCH);
        assert_eq!(batch(&mut queue, |_| false).len(), 1);
        assert_eq!(batch(&mut queue, |_| false).len(), 1);
        assert!(batch(&mut queue, |_| true).is_empty());
    }
}
