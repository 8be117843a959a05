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
    core: Mutex<Core>,
    /// How many tokens were taken.
    taken: AtomicU64,
}

struct Core {
    horizon: u64,
    closed: bool,
    /// The names of the calls that wait, and of those that were served after a wait.
    line: VecDeque<u64>,
    served: Vec<u64>,
}

impl Bucket {
    fn new(full: u64) -> Arc<Self> {
        let word = Horizon::locked();
        word.unlock(0);
        Arc::new(Self {
            word,
            full,
            core: Mutex::new(Core {
                horizon: 0,
                closed: false,
                line: VecDeque::new(),
                served: Vec::new(),
            }),
            taken: AtomicU64::new(0),
        })
    }

    fn locked<R>(&self, f: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.lock().unwrap();
        if let Some(horizon) = self.word.lock() {
            core.horizon = horizon;
        }
        let result = f(&mut core);
        if core.line.is_empty() && !core.closed {
            self.word.unlock(core.horizon);
        }
        result
    }

    fn pay(&self, core: &mut Core, at: u64) -> bool {
        let next = core.horizon.max(at) + 1;
        let paid = next - at <= self.full && !core.closed;
        if paid {
            core.horizon = next;
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
        self.locked(|core| {
            let sent = core.line.is_empty() && self.pay(core, at);
            if !sent {
                core.line.extend(name);
            }
            sent
        })
    }

    /// Rings the timer at the instant `at`.
    fn ring(&self, at: u64) {
        self.locked(|core| {
            while !core.line.is_empty() && self.pay(core, at) {
                let name = core.line.pop_front();
                core.served.extend(name);
            }
        });
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn horizon(&self) -> u64 {
        self.locked(|core| core.horizon)
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
        bucket.locked(|core| assert_eq!(core.served, [7]));
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
        bucket.locked(|core| assert_eq!(core.served.len(), usize::from(!waits)));
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
                bucket.locked(|core| core.closed = true);
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
        bucket.locked(|core| core.closed = false);
        assert!(bucket.call(9, None));
    });
}
