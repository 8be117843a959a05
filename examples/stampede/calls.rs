//! The calls: when they come, and what became of them.

use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// How long a run takes, in seconds.
pub(crate) const SECONDS: usize = 30;
/// The seconds of the rush.
pub(crate) const RUSH: Range<usize> = 5..15;
/// How many clients each fleet has.
pub(crate) const CLIENTS: u64 = 50;
/// How many calls a second come to a whole fleet.
const USUAL_RATE: f64 = 100.0;
/// By how much more in the rush.
const SURGE: f64 = 3.0;
/// How long a caller waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How long one attempt may take.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);

/// How many calls a second come to a whole fleet in this second.
pub(crate) fn rate(second: usize) -> f64 {
    match RUSH.contains(&second) {
        true => USUAL_RATE * SURGE,
        false => USUAL_RATE,
    }
}

/// How many calls came in each second, and how many of them were served in time.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    made: [AtomicU32; SECONDS],
    served: [AtomicU32; SECONDS],
}

impl Calls {
    pub(crate) fn add_made(&self, second: usize) {
        add(&self.made, second);
    }

    /// A call that was made in this second was served in time.
    pub(crate) fn add_served(&self, second: usize) {
        add(&self.served, second);
    }

    /// The share of the calls of these seconds that were served in time.
    pub(crate) fn served_share(&self, seconds: Range<usize>) -> f64 {
        let sum = |counts: &[AtomicU32]| {
            let counts = counts.iter().take(seconds.end).skip(seconds.start);
            counts
                .map(|count| f64::from(count.load(Relaxed)))
                .sum::<f64>()
        };
        sum(&self.served) / sum(&self.made).max(1.0)
    }

    /// How many were served in time, of all.
    pub(crate) fn served(&self) -> u32 {
        self.served.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// How many seconds after the rush at least 95 of 100 calls were served, for three seconds in a
    /// row. `None`: not within the run.
    pub(crate) fn recovery(&self) -> Option<usize> {
        let mut starts = RUSH.end..SECONDS - 2;
        let is_up = |start: &usize| {
            (*start..start + 3).all(|second| self.served_share(second..second + 1) >= 0.95)
        };
        starts.find(is_up).map(|start| start - RUSH.end)
    }
}

fn add(counts: &[AtomicU32], second: usize) {
    if let Some(count) = counts.get(second) {
        count.fetch_add(1, Relaxed);
    }
}
