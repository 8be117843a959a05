use std::{
    cell::Cell,
    num::NonZeroU32,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::time::Instant;

use crate::soonest::Soonest;

/// How many parts there are, so that threads seldom wait for each other.
const SHARDS: usize = 4;

/// Until when the permits are held of calls that have a deadline.
///
/// A permit is given back when its call ends. A body that is kept and not polled never ends, even though the call is over at
/// its deadline: so a limit that is full looks here for permits to take back. A permit that was taken back is not given back
/// once more when that body is dropped at last.
pub(crate) struct Leases {
    /// Made for the first lease: limits may be many, and some have no call with a deadline.
    shards: OnceLock<Box<[Mutex<Shard>; SHARDS]>>,
    /// In nanoseconds since the epoch.
    soonest: Soonest,
    epoch: Instant,
}

/// The lease of one permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// The slot and the shard.
    at: u32,
    generation: NonZeroU32,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    /// The slots without a lease.
    free: Vec<u32>,
}

struct Slot {
    /// When the lease ends; `None` without one.
    ends: Option<u64>,
    /// That of the lease, or of the next one.
    generation: NonZeroU32,
}

thread_local! {
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Leases {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            shards: OnceLock::new(),
            soonest: Soonest::new(),
            epoch: now,
        }
    }

    /// Notes that a permit is held until `end` at the longest.
    pub(crate) fn begin(&self, end: Instant) -> Lease {
        let ends = self.tick(end);
        let shard = own_shard();
        let shards = self.shards.get_or_init(Box::default);
        let lease = lock(&shards[shard]).begin(ends, shard);
        self.soonest.note(ends);
        lease
    }

    /// The permit's call is over: says whether the permit was still held.
    pub(crate) fn end(&self, lease: Lease) -> bool {
        let shard = lease.at as usize % SHARDS;
        let shards = self.shards.get();
        shards.is_some_and(|shards| lock(&shards[shard]).end(lease))
    }

    /// Ends all leases whose time has come, and says how many. Does not look at them before that can be.
    pub(crate) fn take_back(&self, now: impl FnOnce() -> Instant) -> usize {
        if self.soonest.get() == Soonest::NEVER {
            return 0;
        }
        let now = self.tick(now());
        let Some(shards) = self.shards.get() else {
            return 0;
        };
        if self.soonest.get() > now {
            return 0;
        }
        self.soonest.forget();
        let mut ended = 0;
        for shard in shards.iter() {
            let soonest = lock(shard).end_until(now, &mut ended);
            self.soonest.note(soonest);
        }
        ended
    }

    /// `at` in nanoseconds since the epoch. What is too far off never ends.
    fn tick(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(Soonest::NEVER)
    }
}

impl Shard {
    fn begin(&mut self, ends: u64, shard: usize) -> Lease {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                ends: None,
                generation: NonZeroU32::MIN,
            });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.ends = Some(ends);
        Lease {
            at: index * SHARDS as u32 + shard as u32,
            generation: slot.generation,
        }
    }

    fn end(&mut self, lease: Lease) -> bool {
        let index = lease.at / SHARDS as u32;
        let held = self
            .slots
            .get(index as usize)
            .is_some_and(|slot| slot.ends.is_some() && slot.generation == lease.generation);
        if held {
            self.free(index);
        }
        held
    }

    /// Ends leases up to `now`, and says when the next one ends.
    fn end_until(&mut self, now: u64, ended: &mut usize) -> u64 {
        let mut soonest = Soonest::NEVER;
        for index in 0..self.slots.len() as u32 {
            match self.slots[index as usize].ends {
                Some(ends) if ends <= now => {
                    self.free(index);
                    *ended += 1;
                }
                Some(ends) => soonest = soonest.min(ends),
                None => {}
            }
        }
        soonest
    }

    fn free(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.ends = None;
        slot.generation = slot.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.free.push(index);
    }
}

/// The shard of this thread.
#[inline]
fn own_shard() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    SHARD.get().unwrap_or_else(|| {
        let shard = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
        SHARD.set(Some(shard));
        shard
    })
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lease_ends_once() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let leases = Leases::new(now);
        assert_eq!(leases.take_back(|| later(9)), 0);
        let (first, second) = (leases.begin(later(1)), leases.begin(later(2)));
        assert_eq!(leases.take_back(|| now), 0);
        assert_eq!(leases.take_back(|| later(1)), 1);
        // Its slot is used again.
        let third = leases.begin(later(3));
        assert!(!leases.end(first));
        assert!(leases.end(second));
        assert!(!leases.end(second));
        assert_eq!(leases.take_back(|| later(9)), 1);
        assert!(!leases.end(third));
        assert_eq!(leases.take_back(|| later(9)), 0);
    }

    #[test]
    fn a_lease_that_ends_before_the_others_is_found_though_it_came_later() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let leases = Leases::new(now);
        let long = leases.begin(later(60));
        assert_eq!(leases.take_back(|| later(1)), 0);
        let _short = leases.begin(later(2));
        assert_eq!(leases.take_back(|| later(2)), 1);
        assert!(leases.end(long));
    }

    #[test]
    fn leases_of_many_threads_are_all_found() {
        let now = Instant::now();
        let leases = Leases::new(now);
        let kept: Vec<_> = std::thread::scope(|scope| {
            let work = || {
                let leases = (0..100).map(|_| leases.begin(now + Duration::from_secs(1)));
                leases.collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
            let leases = threads.into_iter().map(|thread| thread.join().unwrap());
            leases.flatten().collect()
        });
        assert!(kept[..50].iter().all(|lease| leases.end(*lease)));
        assert_eq!(leases.take_back(|| now + Duration::from_secs(1)), 750);
    }
}
