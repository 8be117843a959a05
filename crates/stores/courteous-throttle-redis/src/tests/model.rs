//! A model of the script in Rust. Properties are checked on the model, and the script is compared
//! with it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    script::{Call, Reply, Seen, bounded},
    terms::Terms,
};

/// Idle time beyond this (46 days) earns no tokens, so that all counts are exact in a script's
/// floating point.
const MAX_CREDIT: u64 = 4_000_000_000_000_000;
const RATE_SEEN: i64 = 5_000_000;
const LONGEST_STAY: i64 = 3_600_000_000;

/// One schedule, as Redis keeps it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    state: Option<State>,
    rates: BTreeMap<(u64, u32), i64>,
    /// Until when a worker counts as here.
    seen: BTreeMap<u64, i64>,
    /// Since when a worker waits for room.
    line: BTreeMap<u64, i64>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    run: i64,
    born: i64,
    at: i64,
    skew: i64,
    begins: i64,
    closed: i64,
    pace: i64,
    paced: i64,
    terms: Terms,
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap()
}

impl Model {
    /// Loses all data, as `FLUSHALL` does.
    pub(crate) fn flush(&mut self) {
        *self = Self::default();
    }

    /// How far the schedule is.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.state.map(|state| Seen {
            born: state.born,
            now: state.at,
            ends: state.begins,
        })
    }

    /// Runs the script when Redis' clock reads `now`, in microseconds.
    pub(crate) fn run(&mut self, call: &Call, run: i64, mut now: i64) -> Reply {
        let mut known = self.state.filter(|state| state.run == run);
        let (mut skew, mut elapsed, mut cold) = (0, 0, known.is_none());
        if let Some(state) = known {
            skew = state.skew;
            now += skew;
            if call.step > 0 && state.skew == call.skew {
                skew -= call.step;
                now -= call.step;
                cold = true;
            } else if now < state.at {
                skew += state.at - now;
                now = state.at;
            }
            elapsed = (now - state.at).max(0).saturating_mul(1000);
            let seen_ends = call.seen.ends - (now - call.seen.now).saturating_mul(1000);
            let older = state.born < call.seen.born
                || state.born == call.seen.born && state.begins - elapsed < seen_ends;
            if !cold && older {
                cold = true;
                known = None;
            }
        }
        let mut born = known.map_or(1, |state| state.born + 1);
        born = born.max(call.seen.born + 1).max(now);
        if cold {
            self.flush();
        }

        self.rates
            .insert((call.terms.interval(), call.terms.burst()), now);
        self.rates.retain(|_, &mut seen| now - seen <= RATE_SEEN);
        let interval = self.rates.keys().map(|&(interval, _)| interval).max();
        let burst = self.rates.keys().map(|&(_, burst)| burst).min();
        let terms = Terms::new(interval.unwrap(), burst.unwrap());
        let (lease, horizon) = (signed(terms.lease()), signed(terms.horizon()));
        let spacing = signed(terms.spacing());

        let mut begins = match known.filter(|_| !cold) {
            None => horizon + lease.max(spacing),
            Some(State { terms: was, .. }) if was != terms => {
                horizon.max(signed(was.horizon())) + lease.max(signed(was.lease())).max(spacing)
            }
            Some(state) => {
                born = state.born;
                (state.begins - elapsed).max(-signed(terms.credit()))
            }
        };
        let closed = known.map_or(0, |state| state.closed - elapsed);
        let closed = closed.max(bounded(call.closed_for)).max(0);
        if closed > 0 {
            begins = begins.max(closed);
        }
        let (mut pace, mut paced) =
            known.map_or((0, 0), |state| (state.pace, state.paced - elapsed));
        if !call.paced_for.is_zero() {
            (pace, paced) = (bounded(call.pace), bounded(call.paced_for));
        }
        if paced <= 0 {
            (pace, paced) = (0, 0);
        }
        let apart = spacing.max(pace);

        self.seen.retain(|_, &mut until| until > now);
        let (need, want) = (i64::from(call.need), i64::from(call.want));
        let mut workers = self.seen.len();
        if need > 0 && !self.seen.contains_key(&call.worker) {
            workers += 1;
        }
        let (first, mut granted, mut wait) = (begins, 0, 0);
        if need > 0 {
            if self.line.len() > workers {
                let seen = &self.seen;
                self.line
                    .retain(|id, _| *id == call.worker || seen.contains_key(id));
            }
            while let Some((&eldest, _)) = self.line.iter().min_by_key(|&(&id, &since)| (since, id))
            {
                if eldest == call.worker || self.seen.contains_key(&eldest) {
                    break;
                }
                self.line.remove(&eldest);
            }
            let place = self
                .line
                .get(&call.worker)
                .map(|&since| (since, call.worker));
            let ahead = self
                .line
                .iter()
                .filter(|&(&id, &since)| place.is_none_or(|place| (since, id) < place))
                .count();
            let room = horizon - begins - i64::try_from(ahead).unwrap() * apart;
            wait = ((need - 1) * spacing - room).max(0);
            if wait > 0 {
                self.line.entry(call.worker).or_insert(now);
            } else {
                self.line.remove(&call.worker);
                granted = need;
                if pace <= spacing {
                    let share = lease / (i64::try_from(workers).unwrap() * spacing);
                    granted = need.max(want.min(share).min(room / spacing + 1));
                }
                begins += granted * apart;
            }
            let stays = (wait + 2 * (lease + horizon) + 999) / 1000;
            self.seen.insert(call.worker, now + stays.min(LONGEST_STAY));
        }
        self.state = Some(State {
            run,
            born,
            at: now,
            skew,
            begins,
            closed,
            pace,
            paced,
            terms,
        });
        Reply {
            granted: u32::try_from(granted).unwrap(),
            first,
            ends: begins,
            wait: Duration::from_nanos(u64::try_from(wait).unwrap()),
            workers: u32::try_from(workers).unwrap(),
            rates: u32::try_from(self.rates.len()).unwrap(),
            terms,
            closed_for: Duration::from_nanos(u64::try_from(closed).unwrap()),
            now,
            skew,
            run,
            cold,
            born,
        }
    }
}

impl Seen {
    /// Whether it is later than `other`.
    pub(crate) const fn is_after(self, other: Self) -> bool {
        self.born > other.born
            || self.born == other.born
                && self.ends + (self.now - other.now).saturating_mul(1000) > other.ends
    }
}

impl Terms {
    /// How far in the past the first slot of an idle schedule may be.
    pub(crate) fn credit(self) -> u64 {
        let full = u128::from(self.burst() - 1) * u128::from(self.interval());
        let full = u64::try_from(full).unwrap_or(u64::MAX);
        full.saturating_sub(self.lease()).min(MAX_CREDIT)
    }
}
