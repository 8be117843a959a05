//! The tokens of a throttle: one atomic word in front of a mutex, which has the tokens whenever the
//! bucket has other state.
//!
//! `locked` models that of `courteous-limit/src/shared.rs`, with the shortcut of
//! `courteous-throttle/src/fast_path.rs`. A token is one unit, and comes back in one unit of time.

use std::collections::VecDeque;

use loom::{
    model::Builder,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use crate::horizon::Horizon;

struct Bucket {
    word: Horizon,
    full: u64,
    state: Mutex<BucketState>,
    /// How many tokens were taken.
    taken: AtomicU64,
}

struct BucketState {
    horizon: u64,
    closed: bool,
    /// The names of the calls that wait, and of those that were served after a wait.
    waiters: VecDeque<u64>,
    served: Vec<u64>,
}

impl Bucket {
    fn new(full: u64) -> Arc<Self> {
        let word = Horizon::locked();
        word.unlock(0);
        Arc::new(Self {
            word,
            full,
            state: Mutex::new(BucketState {
                horizon: 0,
                closed: false,
                waiters: VecDeque::new(),
                served: Vec::new(),
            }),
            taken: AtomicU64::new(0),
        })
    }

    fn locked<R>(&self, f: impl FnOnce(&mut BucketState) -> R) -> R {
        let mut state = self.state.lock().unwrap();
        if let Some(horizon) = self.word.lock() {
            state.horizon = horizon;
        }
        let result = f(&mut state);
        if state.waiters.is_empty() && !state.closed {
            self.word.unlock(state.horizon);
        }
        result
    }

    fn pay(&self, state: &mut BucketState, at: u64) -> bool {
        let next = state.horizon.max(at) + 1;
        let paid = next - at <= self.full && !state.closed;
        if paid {
            state.horizon = next;
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        paid
    }

    /// Makes a call at the instant `at`. If the call has a `name`, it waits under that name.
    /// Returns whether it was sent at once.
    fn call(&self, at: u64, name: Option<u64>) -> bool {
        if self.word.try_take(at, 1, self.full) {
            self.taken.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.locked(|state| {
            let sent = state.waiters.is_empty() && self.pay(state, at);
            if !sent {
                state.waiters.extend(name);
            }
            sent
        })
    }

    /// Rings the timer at the instant `at`.
    fn ring(&self, at: u64) {
        self.locked(|state| {
            while !state.waiters.is_empty() && self.pay(state, at) {
                let name = state.waiters.pop_front();
                state.served.extend(name);
            }
        });
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn horizon(&self) -> u64 {
        self.locked(|state| state.horizon)
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn spawn<R: 'static>(
    bucket: &Arc<Bucket>,
    f: impl FnOnce(&Bucket) -> R + 'static,
) -> thread::JoinHandle<R> {
    let bucket = Arc::clone(bucket);
    thread::spawn(move || f(&bucket))
}

#[test]
fn no_token_is_lost_and_none_is_made() {
    check(|| {
        let bucket = Bucket::new(2);
        let others = [(); 2].map(|()| spawn(&bucket, |bucket| bucket.call(0, None)));
        let mut sent = u64::from(bucket.call(0, None));
        for other in others {
            sent += u64::from(other.join().unwrap());
        }
        assert_eq!((sent, bucket.taken(), bucket.horizon()), (2, 2, 2));
    });
}

/// Even where the word has its old value again, after it was with the lock.
#[test]
fn whoever_only_looks_changes_nothing() {
    check(|| {
        let bucket = Bucket::new(2);
        let looks = spawn(&bucket, |bucket| (bucket.horizon(), bucket.horizon()));
        let other = spawn(&bucket, |bucket| bucket.call(0, None));
        assert!(bucket.call(0, None));
        assert!(other.join().unwrap());
        let (first, second) = looks.join().unwrap();
        assert!(first <= second && second <= 2);
        assert!(!bucket.call(0, None));
        assert_eq!((bucket.taken(), bucket.horizon()), (2, 2));
    });
}

#[test]
fn nobody_passes_one_who_waits() {
    check(|| {
        let bucket = Bucket::new(1);
        assert!(bucket.call(0, None) && !bucket.call(0, Some(7)));
        let timer = spawn(&bucket, |bucket| bucket.ring(1));
        let newcomer = spawn(&bucket, |bucket| bucket.call(1, None));
        let early = bucket.call(0, None);
        timer.join().unwrap();
        assert!(!early && !newcomer.join().unwrap());
        bucket.locked(|state| assert_eq!(state.served, [7]));
        assert!(bucket.call(2, None), "the word stays with the lock");
        assert_eq!(bucket.taken(), 3);
    });
}

#[test]
fn one_who_joins_is_served_whoever_comes_meanwhile() {
    check(|| {
        let bucket = Bucket::new(1);
        let waits = spawn(&bucket, |bucket| bucket.call(0, Some(7)));
        let late = spawn(&bucket, |bucket| bucket.call(1, None));
        let sent = bucket.call(0, None);
        let waits = waits.join().unwrap();
        late.join().unwrap();
        bucket.ring(5);
        assert!(waits || sent || bucket.taken() > 0);
        bucket.locked(|state| assert_eq!(state.served.len(), usize::from(!waits)));
        assert!(bucket.taken() <= 3);
        assert!(bucket.call(9, None), "the word stays with the lock");
    });
}

#[test]
fn nobody_passes_a_bucket_that_is_known_to_be_closed() {
    check(|| {
        let bucket = Bucket::new(3);
        let known = Arc::new(AtomicBool::new(false));
        let closes = {
            let known = Arc::clone(&known);
            spawn(&bucket, move |bucket| {
                bucket.locked(|state| state.closed = true);
                known.store(true, Ordering::Release);
            })
        };
        let other = spawn(&bucket, |bucket| bucket.call(0, None));
        let closed = known.load(Ordering::Acquire);
        assert!(!(bucket.call(0, None) && closed), "it is closed");
        closes.join().unwrap();
        let _ = other.join().unwrap();
        assert!(!bucket.call(9, None), "it is closed");
        assert_eq!(bucket.taken(), bucket.horizon());
        bucket.locked(|state| state.closed = false);
        assert!(bucket.call(9, None));
    });
}
