//! The permits of a concurrency limit: one atomic word beside a line under a mutex.
//!
//! The line is that of `courteous-concurrency/src/line.rs` without promises that lapse: whoever is called out of it has
//! the permit.

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
    line: Mutex<VecDeque<Arc<Waiter>>>,
    /// Calls that run, and the most that ever may.
    running: AtomicUsize,
    most: usize,
}

/// Somebody who waits to be called out of the line.
struct Waiter {
    wake: Notify,
    /// Whether it was called. Only used under the lock of the line.
    called: AtomicBool,
}

impl Limit {
    fn new(permits: usize, most: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Slots::new(permits),
            line: Mutex::default(),
            running: AtomicUsize::new(0),
            most,
        })
    }

    /// `Limiter::admit`.
    fn admit(&self) {
        if self.slots.try_take() {
            return;
        }
        let waiter = {
            let mut line = self.line.lock().unwrap();
            if self.slots.take_or_wait() {
                return;
            }
            let waiter = Arc::new(Waiter {
                wake: Notify::new(),
                called: AtomicBool::new(false),
            });
            line.push_back(Arc::clone(&waiter));
            waiter
        };
        // Loom also wakes threads for nothing, as executors do.
        loop {
            waiter.wake.wait();
            let _line = self.line.lock().unwrap();
            if waiter.called.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// `Core::release`.
    fn release(&self) {
        if !self.slots.try_give() {
            self.update(|| self.slots.give(1));
        }
    }

    /// `Shared::update`, and `Line::serve` after it.
    fn update(&self, change: impl FnOnce()) {
        let mut line = self.line.lock().unwrap();
        change();
        while !line.is_empty() && self.slots.take() {
            let front = line.pop_front().unwrap();
            front.called.store(true, Ordering::Relaxed);
            front.wake.notify();
        }
        if line.is_empty() {
            self.slots.nobody_waits();
        }
    }

    fn set_limit(&self, permits: usize) {
        self.update(|| self.slots.set_limit(permits));
    }

    /// One call from its beginning to its end.
    fn call(&self) {
        self.admit();
        let others = self.running.fetch_add(1, Ordering::Relaxed);
        assert!(others < self.most, "{} calls at once", others + 1);
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.release();
    }

    fn assert_idle(&self) {
        assert!(
            self.line.lock().unwrap().is_empty(),
            "somebody is still in the line"
        );
        assert_eq!(self.slots.taken(), 0, "permits are lost");
        assert!(self.slots.try_take(), "the line is still said to be there");
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    // More switches by force find nothing more in models of this size, and take hours.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn run(limit: &Arc<Limit>, calls: &[usize]) {
    let threads: Vec<_> = calls
        .iter()
        .map(|&calls| {
            let limit = Arc::clone(limit);
            thread::spawn(move || (0..calls).for_each(|_| limit.call()))
        })
        .collect();
    limit.call();
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
fn a_permit_that_comes_back_goes_to_the_line_before_it_is_taken_again() {
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

/// What a call did before it gave its permit back is seen by the one that gets it.
#[test]
fn a_permit_passes_on_what_happened_under_it() {
    check(|| {
        let limit = Limit::new(1, 1);
        let shared = Arc::new(loom::cell::UnsafeCell::new(0));
        let add = |limit: &Limit, shared: &loom::cell::UnsafeCell<u32>| {
            limit.admit();
            // Loom fails here if two accesses are not ordered.
            shared.with(|_| ());
            shared.with_mut(|_| ());
            limit.release();
        };
        let other = {
            let (limit, shared) = (Arc::clone(&limit), Arc::clone(&shared));
            thread::spawn(move || add(&limit, &shared))
        };
        add(&limit, &shared);
        other.join().unwrap();
        limit.assert_idle();
    });
}
