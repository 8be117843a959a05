//! The permits of a concurrency limit: one atomic word in front of a mutex, which has the permits
//! whenever a call waits.
//!
//! `locked` models that of `courteous-limit/src/shared.rs`, with the shortcut of
//! `courteous-concurrency/src/permits.rs`. The queue models `courteous-limit/src/permit_queue.rs`, without promises
//! that lapse: a waiter that is called out of the queue has the permit. Calls wait in two orders, which take turns.

use std::collections::VecDeque;

use loom::{
    model::Builder,
    sync::{
        Arc, Mutex, Notify,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::slots::Slots;

struct Limit {
    slots: Slots,
    queue: Mutex<PermitQueue>,
    /// How many calls run now, and how many may ever run at once.
    running: AtomicUsize,
    most: usize,
}

struct PermitQueue {
    limit: usize,
    taken: usize,
    oldest_first: VecDeque<Arc<Waiter>>,
    newest_first: Vec<Arc<Waiter>>,
    /// Whether the waiter that was called out last was one of the newest.
    served_newest: bool,
}

impl PermitQueue {
    fn is_empty(&self) -> bool {
        self.oldest_first.is_empty() && self.newest_first.is_empty()
    }

    fn join(&mut self, waiter: Arc<Waiter>, has_deadline: bool) {
        match has_deadline {
            true => self.newest_first.push(waiter),
            false => self.oldest_first.push_back(waiter),
        }
    }

    fn next(&mut self) -> Option<Arc<Waiter>> {
        let takes_turns = !self.oldest_first.is_empty() && !self.newest_first.is_empty();
        self.served_newest = match takes_turns {
            true => !self.served_newest,
            false => self.oldest_first.is_empty(),
        };
        match self.served_newest {
            true => self.newest_first.pop(),
            false => self.oldest_first.pop_front(),
        }
    }
}

/// A call that waits to be called out of the queue.
struct Waiter {
    wake: Notify,
    /// Whether the waiter was called out. Only used under the lock of the queue.
    called: AtomicBool,
}

impl Limit {
    fn new(permits: usize, most: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Slots::new(permits),
            queue: Mutex::new(PermitQueue {
                limit: permits,
                taken: 0,
                oldest_first: VecDeque::new(),
                newest_first: Vec::new(),
                served_newest: false,
            }),
            running: AtomicUsize::new(0),
            most,
        })
    }

    fn locked<R>(&self, f: impl FnOnce(&mut PermitQueue) -> R) -> R {
        let mut queue = self.queue.lock().unwrap();
        if let Some(free) = self.slots.lock() {
            queue.taken = queue.limit - free;
        }
        let result = f(&mut queue);
        if let Some(free) = queue.limit.checked_sub(queue.taken)
            && queue.is_empty()
        {
            self.slots.unlock(free);
        }
        result
    }

    /// Models `Limiter::admit`.
    fn admit(&self, has_deadline: bool) {
        if self.slots.try_take() {
            return;
        }
        let waiter = self.locked(|queue| {
            if queue.taken < queue.limit {
                queue.taken += 1;
                return None;
            }
            let waiter = Arc::new(Waiter {
                wake: Notify::new(),
                called: AtomicBool::new(false),
            });
            queue.join(Arc::clone(&waiter), has_deadline);
            Some(waiter)
        });
        let Some(waiter) = waiter else {
            return;
        };
        // Loom also wakes threads for no reason, as executors do.
        loop {
            waiter.wake.wait();
            if self.locked(|_| waiter.called.load(Ordering::Relaxed)) {
                return;
            }
        }
    }

    /// Models the drop of `Permit`.
    fn release(&self) {
        if !self.slots.try_give() {
            self.update(|queue| queue.taken -= 1);
        }
    }

    /// Models `Shared::update`, with `PermitQueue::serve`.
    fn update(&self, change: impl FnOnce(&mut PermitQueue)) {
        self.locked(|queue| {
            change(queue);
            while queue.taken < queue.limit {
                let Some(next) = queue.next() else {
                    return;
                };
                queue.taken += 1;
                next.called.store(true, Ordering::Relaxed);
                next.wake.notify();
            }
        });
    }

    fn set_limit(&self, permits: usize) {
        self.update(|queue| queue.limit = permits);
    }

    /// Runs one call from its beginning to its end.
    fn call(&self, has_deadline: bool) {
        self.admit(has_deadline);
        let others = self.running.fetch_add(1, Ordering::Relaxed);
        assert!(others < self.most, "{} calls at once", others + 1);
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.release();
    }

    fn assert_idle(&self) {
        let (is_empty, taken, limit) =
            self.locked(|queue| (queue.is_empty(), queue.taken, queue.limit));
        assert!(is_empty, "a waiter is still in the queue");
        assert_eq!(taken, 0, "permits are lost");
        assert_eq!(
            self.slots.lock(),
            Some(limit),
            "the word is still with the lock"
        );
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    // With more forced switches, models of this size find nothing more, and take hours.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Runs one call without a deadline, and beside it a thread for each of `calls`. The first of these
/// makes calls with a deadline, the next ones without, in turns.
fn run(limit: &Arc<Limit>, calls: &[usize]) {
    let threads: Vec<_> = calls
        .iter()
        .zip([true, false].into_iter().cycle())
        .map(|(&calls, has_deadline)| {
            let limit = Arc::clone(limit);
            thread::spawn(move || (0..calls).for_each(|_| limit.call(has_deadline)))
        })
        .collect();
    limit.call(false);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn no_wake_up_is_lost_and_no_permit() {
    check(|| {
        let limit = Limit::new(1, 1);
        run(&limit, &[1, 1]);
        limit.assert_idle();
    });
}

#[test]
fn a_permit_that_comes_back_goes_to_the_queue_before_it_is_taken_again() {
    check(|| {
        let limit = Limit::new(1, 1);
        run(&limit, &[2]);
        limit.assert_idle();
    });
}

#[test]
fn two_permits_are_two() {
    check(|| {
        let limit = Limit::new(2, 2);
        run(&limit, &[1, 1]);
        limit.assert_idle();
    });
}

#[test]
fn a_limit_that_is_raised_lets_those_in_who_wait() {
    check(|| {
        let limit = Limit::new(1, 2);
        let raise = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.set_limit(2))
        };
        run(&limit, &[1]);
        raise.join().unwrap();
        limit.assert_idle();
    });
}

#[test]
fn a_limit_that_is_lowered_loses_nobody() {
    check(|| {
        let limit = Limit::new(2, 2);
        let lower = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.set_limit(1))
        };
        run(&limit, &[1]);
        lower.join().unwrap();
        limit.assert_idle();
    });
}

/// What a call did before it gave its permit back is seen by the call that gets the permit next.
#[test]
fn a_permit_passes_on_what_happened_under_it() {
    check(|| use_in_turn(&Limit::new(1, 1), |_| ()));
}

/// The same holds if the permit was given back while another thread held the lock.
#[test]
fn a_permit_that_comes_back_under_the_lock_passes_it_on() {
    check(|| use_in_turn(&Limit::new(1, 1), |limit| limit.locked(|_| ())));
}

/// Two threads use something under the permit. One of them does something `first`.
fn use_in_turn(limit: &Arc<Limit>, first: impl FnOnce(&Limit) + 'static) {
    let shared = Arc::new(loom::cell::UnsafeCell::new(0));
    let add = |limit: &Limit, shared: &loom::cell::UnsafeCell<u32>| {
        limit.admit(false);
        // Loom fails here if two accesses are not ordered.
        shared.with(|_| ());
        shared.with_mut(|_| ());
        limit.release();
    };
    let other = {
        let (limit, shared) = (Arc::clone(limit), Arc::clone(&shared));
        thread::spawn(move || {
            first(&limit);
            add(&limit, &shared);
        })
    };
    add(limit, &shared);
    other.join().unwrap();
    limit.assert_idle();
}
