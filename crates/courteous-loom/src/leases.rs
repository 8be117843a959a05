//! The instant before which no permit is overdue, beside the leases of which each has a lock.
//!
//! `begin` and `take_back` are those of `courteous-concurrency/src/leases.rs`, with a lease to a lock.

use loom::{
    sync::{Arc, Mutex},
    thread,
};

use crate::soonest::Soonest;

struct Leases {
    ends: [Mutex<Option<u64>>; 2],
    soonest: Soonest,
}

impl Leases {
    fn begin(&self, at: usize, end: u64) {
        *self.ends[at].lock().unwrap() = Some(end);
        self.soonest.note(end);
    }

    /// Says whether the permit was still held.
    fn end(&self, at: usize) -> bool {
        self.ends[at].lock().unwrap().take().is_some()
    }

    fn take_back(&self, now: u64) -> usize {
        if self.soonest.get() > now {
            return 0;
        }
        self.soonest.forget();
        let mut ended = 0;
        for end in &self.ends {
            let mut end = end.lock().unwrap();
            if end.take_if(|end| *end <= now).is_some() {
                ended += 1;
            }
            let left = end.unwrap_or(Soonest::NEVER);
            drop(end);
            self.soonest.note(left);
        }
        ended
    }
}

fn leases() -> Arc<Leases> {
    Arc::new(Leases {
        ends: [Mutex::new(None), Mutex::new(None)],
        soonest: Soonest::new(),
    })
}

#[test]
fn a_lease_that_begins_during_a_search_is_found_by_the_next_one() {
    loom::model(|| {
        let leases = leases();
        leases.begin(0, 1);
        let other = {
            let leases = Arc::clone(&leases);
            thread::spawn(move || leases.begin(1, 2))
        };
        let first = leases.take_back(1);
        other.join().unwrap();
        assert_eq!((first, leases.take_back(2)), (1, 1));
    });
}

#[test]
fn a_permit_comes_back_once_whoever_is_first() {
    loom::model(|| {
        let leases = leases();
        leases.begin(0, 1);
        leases.begin(1, 9);
        let searches: Vec<_> = (0..2)
            .map(|_| {
                let leases = Arc::clone(&leases);
                thread::spawn(move || leases.take_back(1))
            })
            .collect();
        let given = usize::from(leases.end(0));
        let taken: usize = searches
            .into_iter()
            .map(|search| search.join().unwrap())
            .sum();
        assert_eq!(given + taken, 1);
        // The other one is still found.
        assert_eq!(leases.take_back(9), 1);
    });
}
