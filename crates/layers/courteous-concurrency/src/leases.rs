use std::{
    cell::Cell,
    num::NonZeroU32,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::time::Instant;

/// The number of parts, so that threads seldom wait for each other.
const SHARDS: usize = 4;

/// Records how long each call with a deadline may hold its permit.
///
/// A permit is given back when its call ends. A body that is kept and not polled never ends,
/// although the call is over at its deadline. So a full limit looks here for permits to take back.
/// A permit that was taken back is not given back a second time when the body is finally dropped.
///
/// Each lease has its own slot. The slot counts how often it was used, so that a lease that has
/// ended is not confused with the next lease in its slot.
pub(crate) struct Leases {
    /// Created for the first lease: there may be many limits, and some have no call with a
    /// deadline.
    shards: OnceLock<Box<[Mutex<Shard>; SHARDS]>>,
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
    /// The first slot without a lease, or the number of slots if all have one.
    free: u32,
    /// No lease ends before this.
    soonest: Option<Instant>,
    /// How many permits were taken back, and not dropped since.
    taken_back: usize,
}

struct Slot {
    /// When the lease ends; `None` if there is none.
    ends: Option<Instant>,
    /// The generation of the lease, or of the next lease.
    generation: NonZeroU32,
    /// For a slot without a lease: the next such slot.
    next_free: u32,
}

thread_local! {
    /// `SHARDS` if the thread has no shard yet.
    static SHARD: Cell<usize> = const { Cell::new(SHARDS) };
}

impl Leases {
    pub(crate) const fn new() -> Self {
        Self {
            shards: OnceLock::new(),
        }
    }

    /// Records that a permit is held until `end` at the latest.
    #[inline(never)]
    pub(crate) fn begin(&self, end: Instant) -> Lease {
        let shard = own_shard();
        let shards = self.shards.get_or_init(Box::default);
        lock(&shards[shard % SHARDS]).begin(end, shard)
    }

    /// Ends the lease, as the permit's call is over. Returns whether the permit was still held.
    #[inline(never)]
    pub(crate) fn end(&self, lease: Lease) -> bool {
        let shard = lease.at as usize % SHARDS;
        let shards = self.shards.get();
        shards.is_some_and(|shards| lock(&shards[shard]).end(lease))
    }

    /// Ends all leases whose time has come, and returns how many. The clock is read only if there
    /// were leases.
    pub(crate) fn take_back(&self, now: impl FnOnce() -> Instant) -> usize {
        let Some(shards) = self.shards.get() else {
            return 0;
        };
        let now = now();
        shards.iter().map(|shard| lock(shard).take_back(now)).sum()
    }

    /// How many permits were taken back whose calls still keep what they held them for.
    pub(crate) fn taken_back(&self) -> usize {
        let shards = self.shards.get().into_iter().flat_map(|shards| &**shards);
        shards.map(|shard| lock(shard).taken_back).sum()
    }
}

impl Shard {
    #[inline]
    fn begin(&mut self, end: Instant, shard: usize) -> Lease {
        if self.soonest.is_none_or(|soonest| end < soonest) {
            self.soonest = Some(end);
        }
        let index = self.free;
        let generation = match self.slots.get_mut(index as usize) {
            Some(slot) => {
                slot.ends = Some(end);
                self.free = slot.next_free;
                slot.generation
            }
            None => self.grow(end),
        };
        Lease {
            at: index * SHARDS as u32 + shard as u32,
            generation,
        }
    }

    #[cold]
    fn grow(&mut self, end: Instant) -> NonZeroU32 {
        let generation = NonZeroU32::MIN;
        self.free += 1;
        self.slots.push(Slot {
            ends: Some(end),
            generation,
            next_free: self.free,
        });
        generation
    }

    #[inline]
    fn end(&mut self, lease: Lease) -> bool {
        let index = lease.at / SHARDS as u32;
        match self.slots.get_mut(index as usize) {
            Some(slot) if slot.generation == lease.generation => {
                slot.free(index, &mut self.free);
                true
            }
            _ => {
                self.taken_back = self.taken_back.saturating_sub(1);
                false
            }
        }
    }

    /// Ends leases up to `now`, and returns how many. It checks the leases only if one may have
    /// ended, and then checks all of them.
    fn take_back(&mut self, now: Instant) -> usize {
        let mut ended = 0;
        if self.soonest.is_none_or(|soonest| now < soonest) {
            return ended;
        }
        self.soonest = None;
        for (index, slot) in (0..).zip(&mut self.slots) {
            match slot.ends {
                Some(end) if end <= now => {
                    slot.free(index, &mut self.free);
                    ended += 1;
                }
                Some(end) => {
                    self.soonest = Some(self.soonest.map_or(end, |soonest| soonest.min(end)));
                }
                None => {}
            }
        }
        self.taken_back += ended;
        ended
    }
}

impl Slot {
    #[inline]
    fn free(&mut self, index: u32, first_free: &mut u32) {
        self.ends = None;
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.next_free = std::mem::replace(first_free, index);
    }
}

/// The shard of this thread.
#[inline]
fn own_shard() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    let shard = SHARD.get();
    if shard < SHARDS {
        return shard;
    }
    let shard = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
    SHARD.set(shard);
    shard
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
        let leases = Leases::new();
        assert_eq!(leases.take_back(|| later(9)), 0);
        let (first, second) = (leases.begin(later(1)), leases.begin(later(2)));
        assert_eq!(leases.take_back(|| now), 0);
        assert_eq!(leases.take_back(|| later(1)), 1);
        // The slot is used again.
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
        let leases = Leases::new();
        let long = leases.begin(later(60));
        assert_eq!(leases.take_back(|| later(1)), 0);
        let _short = leases.begin(later(2));
        assert_eq!(leases.take_back(|| later(2)), 1);
        assert!(leases.end(long));
    }

    #[test]
    fn leases_of_many_threads_are_all_found() {
        let now = Instant::now();
        let leases = Leases::new();
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
