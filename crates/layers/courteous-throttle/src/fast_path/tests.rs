use std::{num::NonZeroU32, sync::Arc, task::Waker};

use courteous_core::{Rejected, RequestView};
use courteous_limit::{
    Ask, Entry, PollOutcome, QuotaName, Serve, Target, Ticket, TokenQueue, ToldQuota, Wakes,
};
use proptest::prelude::*;

use super::*;

/// A bucket with the fast path in front of it, as `Shared` puts it there, or without a fast path.
struct Bucket {
    fast_path: Option<FastPath>,
    kept: Kept,
    tickets: Vec<Ticket>,
}

/// What can be seen of a bucket from the outside.
#[derive(Debug, PartialEq)]
enum Seen {
    Taken,
    Waits,
    Rejected(Option<Duration>),
    Sent(bool),
    State {
        available: u32,
        waiting: usize,
        closed_until: Option<Instant>,
        idle: bool,
    },
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Take(u32),
    /// Waits, if no token is there.
    Wait(u32),
    Leave(usize),
    Spend(usize),
    Look,
    Touch,
    Close(u64),
    Pace(u64, u64),
    /// Hears of a used-up, named quota, against which none of the calls counts.
    Hear(u64),
    Empty,
    /// Sets another rate, or the first one again.
    Rate {
        other: bool,
    },
    Add,
}

impl Bucket {
    fn new(rate: Rate, now: Instant, fast: bool) -> Self {
        let mut state = BucketState::new(rate, now);
        // No jitter, so that both buckets close and open alike.
        Arc::make_mut(&mut state.settings)
            .spread
            .set_most(Duration::ZERO);
        let tickets = Vec::new();
        let fast_path = FastPath::new(rate, now);
        if fast {
            let kept = fast_path.keep(state);
            let fast_path = Some(fast_path);
            return Self {
                fast_path,
                kept,
                tickets,
            };
        }
        let settings = Arc::clone(&state.settings);
        let state = Some(Box::new(state));
        Self {
            fast_path: None,
            kept: Kept { settings, state },
            tickets,
        }
    }

    fn locked<R>(&mut self, f: impl FnOnce(&mut BucketState, &mut Vec<Ticket>) -> R) -> R {
        let Some(fast_path) = &self.fast_path else {
            return f(self.kept.state.as_mut().unwrap(), &mut self.tickets);
        };
        let state = fast_path.close(&mut self.kept);
        assert_eq!(fast_path.horizon.peek(), None, "not under the lock");
        let result = f(state, &mut self.tickets);
        fast_path.open(&mut self.kept);
        let known = self.kept.state.as_ref();
        let is_known = known.is_some_and(|state| !state.quotas.is_unknown());
        let at_rest = fast_path.horizon.peek().is_some();
        assert!(at_rest == known.is_none() || at_rest && is_known);
        result
    }

    fn take(&mut self, cost: u32, max_waiting: usize, now: Instant) -> Seen {
        if let Some(fast_path) = &self.fast_path
            && fast_path.try_take(cost, now)
        {
            return Seen::Taken;
        }
        let cost = NonZeroU32::new(cost).unwrap();
        let ask = Ask::new(cost).with_max_waiting(max_waiting);
        self.locked(|state, tickets| match state.enter(&ask, now).0 {
            Entry::Taken => Seen::Taken,
            Entry::Queued(ticket) => {
                tickets.push(ticket);
                Seen::Waits
            }
            Entry::Rejected(rejected) => Seen::Rejected(Rejected::wait(&rejected)),
            Entry::Held(_) => panic!("no call counts against a quota"),
        })
    }

    fn step(&mut self, step: Step, rate: Rate, now: Instant) -> Option<Seen> {
        let wakes = &mut Wakes::new();
        let other = rate.with_burst(rate.burst().saturating_add(1));
        match step {
            Step::Pass(_) => None,
            Step::Take(cost) => Some(self.take(cost, 0, now)),
            Step::Wait(cost) => Some(self.take(cost, 5, now)),
            Step::Leave(i) => self.locked(|state, tickets| {
                if !tickets.is_empty() {
                    drop(state.leave(tickets.remove(i % tickets.len()), false, now));
                    state.serve(now, wakes);
                }
                None
            }),
            Step::Spend(i) => self.locked(|state, tickets| {
                let i = i % tickets.len().max(1);
                let ticket = tickets.get(i)?;
                let outcome =
                    state.poll_waiter(ticket, &mut Some(Waker::noop().clone()), now, wakes);
                let sent = matches!(outcome, PollOutcome::Granted) && state.spend(ticket, now);
                if sent {
                    drop(state.leave(tickets.remove(i), true, now));
                }
                Some(Seen::Sent(sent))
            }),
            Step::Look => {
                let fast_path = self.fast_path.as_ref();
                let available = fast_path.and_then(|fast_path| fast_path.available(now));
                let idle = fast_path.and_then(|fast_path| fast_path.is_full(now));
                self.locked(|state, _| {
                    Some(Seen::State {
                        available: available.unwrap_or_else(|| state.available(0, now)),
                        waiting: state.waiting(),
                        closed_until: state.closed_until(now),
                        idle: idle.unwrap_or_else(|| state.is_idle(now)),
                    })
                })
            }
            Step::Touch => self.locked(|_, _| None),
            Step::Close(nanos) => self.locked(|state, _| {
                state.close_until(now + Duration::from_nanos(nanos), now, wakes);
                state.serve(now, wakes);
                None
            }),
            Step::Pace(remaining, nanos) => self.locked(|state, _| {
                state.pace(remaining, Duration::from_nanos(nanos), now, wakes);
                state.serve(now, wakes);
                None
            }),
            Step::Hear(nanos) => self.locked(|state, _| {
                let told = ToldQuota::used_up(
                    QuotaName::new(target(), &[Some("q")]),
                    now + Duration::from_nanos(nanos),
                );
                state.hear(target(), &[told], now);
                state.serve(now, wakes);
                None
            }),
            Step::Empty => self.locked(|state, _| {
                state.empty(now);
                None
            }),
            Step::Rate { other: is_other } => self.locked(|state, _| {
                state.set_rates(0, &[if is_other { other } else { rate }], now, wakes);
                state.serve(now, wakes);
                None
            }),
            Step::Add => self.locked(|state, _| {
                state.add_rate(0, other, now, wakes);
                state.serve(now, wakes);
                None
            }),
        }
    }
}

fn target() -> Target {
    Target::of(RequestView::of(&http::Request::new(())))
}

fn rates() -> impl Strategy<Value = Rate> {
    let rate = prop_oneof![
        (1..30u32).prop_map(|tokens| Rate::new(tokens, Duration::from_nanos(1000)).unwrap()),
        Just(Rate::new(7919, Duration::from_secs(1)).unwrap()),
        Just(Rate::new(20_000, Duration::from_secs(1)).unwrap()),
        Just(Rate::per_second(33.333).unwrap()),
        Just(Rate::per_hour(6.283_186).unwrap()),
        Just(Rate::new(1, Duration::from_secs(500 * 365 * 24 * 3600)).unwrap()),
        Just(Rate::UNLIMITED),
    ];
    (rate, 1..8u32).prop_map(|(rate, burst)| rate.with_burst(NonZeroU32::new(burst).unwrap()))
}

/// Steps whose times are in tenths of the rate's interval, because that is where something happens.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..15u64).prop_map(Step::Pass),
        1 => (0..100_000u64).prop_map(Step::Pass),
        12 => (1..5u32).prop_map(Step::Take),
        2 => (1..5u32).prop_map(Step::Wait),
        3 => any::<usize>().prop_map(Step::Leave),
        3 => any::<usize>().prop_map(Step::Spend),
        3 => Just(Step::Look),
        2 => Just(Step::Touch),
        1 => (0..20u64).prop_map(Step::Close),
        1 => (0..5u64, 0..50u64).prop_map(|(remaining, reset)| Step::Pace(remaining, reset)),
        1 => (0..50u64).prop_map(Step::Hear),
        1 => Just(Step::Empty),
        1 => any::<bool>().prop_map(|other| Step::Rate { other }),
    ];
    let add = prop::option::weighted(0.1, Just(Step::Add));
    (prop::collection::vec(step, 1..200), add).prop_map(|(mut steps, add)| {
        steps.extend(add);
        let last = steps.len() - 1;
        steps.swap(last / 2, last);
        steps
    })
}

/// What is known of named quotas outlives a rest. The tokens are counted as without it.
#[test]
fn a_bucket_that_has_heard_of_quotas_comes_to_rest_and_remembers_them() {
    let now = Instant::now();
    let rate = Rate::new(10, Duration::from_secs(1)).unwrap();
    let mut bucket = Bucket::new(rate.with_burst(NonZeroU32::new(2).unwrap()), now, true);
    let second = 1_000_000_000;
    bucket.step(Step::Hear(second), rate, now);
    let at_rest = |bucket: &Bucket| bucket.fast_path.as_ref().unwrap().horizon.peek().is_some();
    assert!(!at_rest(&bucket));
    assert_eq!(bucket.take(1, 0, now), Seen::Taken);
    let later = now + Duration::from_secs(1);
    assert_eq!(bucket.take(1, 0, later), Seen::Taken);
    assert!(at_rest(&bucket));
    assert_eq!(bucket.take(1, 0, later), Seen::Taken);
    assert!(matches!(bucket.take(1, 0, later), Seen::Rejected(_)));
    bucket.step(Step::Hear(second), rate, later);
    let state = bucket.kept.state.as_ref().unwrap();
    assert!(state.quotas.closed_until(Some(target()), later).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_bucket_with_the_fast_path_answers_as_one_without(rate in rates(), odd in 0..3u64, steps in steps()) {
        let mut now = Instant::now();
        let [mut fast, mut plain] = [true, false].map(|fast| Bucket::new(rate, now, fast));
        let tenth = u64::try_from(rate.interval().as_nanos()).unwrap() / 10;
        for step in steps {
            let times = |tenths: u64| tenth.saturating_mul(tenths).min(1 << 60) + odd;
            let step = match step {
                Step::Pass(tenths) => Step::Pass(times(tenths)),
                Step::Close(tenths) => Step::Close(times(tenths)),
                Step::Pace(remaining, tenths) => Step::Pace(remaining, times(tenths)),
                Step::Hear(tenths) => Step::Hear(times(tenths)),
                other => other,
            };
            if let Step::Pass(nanos) = step {
                now = later(now, Duration::from_nanos(nanos));
            }
            prop_assert_eq!(fast.step(step, rate, now), plain.step(step, rate, now), "{:?}", step);
        }
        let look = [&mut fast, &mut plain].map(|bucket| bucket.step(Step::Look, rate, now));
        prop_assert_eq!(&look[0], &look[1]);
    }

    /// Threads read the clock before they come to the word, and a paused runtime's clock differs
    /// from that of other threads.
    #[test]
    fn no_window_holds_too_much_even_if_instants_come_in_no_order(
        tokens in 1..30u32,
        burst in 1..8u32,
        calls in prop::collection::vec((0..400u64, 1..4u32, any::<bool>()), 1..120),
    ) {
        let rate = Rate::new(tokens, Duration::from_nanos(100)).unwrap();
        let rate = rate.with_burst(NonZeroU32::new(burst).unwrap());
        let epoch = Instant::now();
        let mut bucket = Bucket::new(rate, epoch, true);
        let mut sends = Vec::new();
        for (at, cost, touch) in calls {
            let now = epoch + Duration::from_nanos(at);
            if bucket.take(cost, 0, now) == Seen::Taken {
                sends.push((at, cost));
            }
            if touch {
                bucket.locked(|_, _| ());
            }
        }
        for &(from, _) in &sends {
            for &(to, _) in sends.iter().filter(|&&(to, _)| to >= from) {
                let within = sends.iter().filter(|(at, _)| (from..=to).contains(at));
                let sent: u64 = within.map(|&(_, cost)| u64::from(cost)).sum();
                let allowed = u64::from(burst) * rate.per() + (to - from) * rate.tokens();
                prop_assert!(sent * rate.per() <= allowed, "{sent} from {from} to {to}");
            }
        }
    }
}

#[test]
fn a_bucket_at_rest_is_taken_from_without_the_lock() {
    let now = Instant::now();
    let rate = Rate::new(20_000, Duration::from_secs(1)).unwrap();
    let mut bucket = Bucket::new(rate, now, true);
    let is_open = |bucket: &Bucket| bucket.fast_path.as_ref().unwrap().try_take(1, now);
    assert!(is_open(&bucket));
    // In lowest terms, the instants of many years fit.
    let years = later(now, Duration::from_secs(70 * 365 * 24 * 3600));
    assert!(bucket.fast_path.as_ref().unwrap().try_take(1, years));

    let mut bucket_again = Bucket::new(rate, now, true);
    bucket_again.step(Step::Rate { other: true }, rate, now);
    assert!(!is_open(&bucket_again));
    bucket_again.step(Step::Rate { other: false }, rate, now);
    assert!(is_open(&bucket_again));

    let closed = bucket.step(
        Step::Close(1_000_000_000 * 80 * 365 * 24 * 3600),
        rate,
        years,
    );
    assert_eq!(closed, None);
    assert!(!is_open(&bucket));
}

#[test]
fn what_a_nanosecond_does_not_divide_stays_with_the_lock() {
    let start = Instant::now();
    let at = |nanos| start + Duration::from_nanos(nanos);
    let rate = |tokens, nanos| Rate::new(tokens, Duration::from_nanos(nanos)).unwrap();
    let one = NonZeroU32::MIN;
    let [rate, other] = [rate(2, 10), rate(1, 7)].map(|rate| rate.with_burst(one));
    let mut bucket = Bucket::new(rate, start, true);
    let wakes = &mut Wakes::new();
    bucket.locked(|state, _| state.set_rates(0, &[other], start, wakes));
    assert_eq!(bucket.take(1, 0, start), Seen::Taken);
    // A seventh of a token is not a whole number of fifths.
    bucket.locked(|state, _| state.set_rates(0, &[rate], at(1), wakes));
    assert!(!bucket.fast_path.as_ref().unwrap().try_take(1, at(100)));
    // Once the bucket is full, the rest is gone.
    bucket.step(Step::Look, rate, at(100));
    assert!(bucket.fast_path.as_ref().unwrap().try_take(1, at(100)));
}

#[test]
fn threads_take_as_much_as_there_is() {
    let now = Instant::now();
    let rate = Rate::new(1, Duration::from_secs(1)).unwrap();
    let fast_path = FastPath::new(rate.with_burst(NonZeroU32::new(1000).unwrap()), now);
    fast_path.horizon.unlock(0);
    let fast_path = Arc::new(fast_path);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let fast_path = Arc::clone(&fast_path);
            std::thread::spawn(move || (0..1000).filter(|_| fast_path.try_take(1, now)).count())
        })
        .collect();
    let taken: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(taken, 1000);
}

/// With the two counts of its `Arc`, a bucket takes one cache line: there may be a million.
#[test]
fn a_bucket_at_rest_is_small() {
    let size = size_of::<courteous_limit::Shared<Kept, FastPath>>();
    assert!(size <= 48, "{size} bytes");
}

#[test]
fn a_bucket_at_rest_has_nothing_but_its_word() {
    let now = Instant::now();
    let rate = Rate::new(10, Duration::from_secs(1)).unwrap();
    let mut bucket = Bucket::new(rate.with_burst(NonZeroU32::MIN), now, true);
    assert!(bucket.kept.state.is_none());
    assert_eq!(bucket.take(1, 1, now), Seen::Taken);
    assert_eq!(bucket.take(1, 1, now), Seen::Waits);
    assert!(bucket.kept.state.is_some());
    let later = now + Duration::from_millis(100);
    assert_eq!(
        bucket.step(Step::Spend(0), rate, later),
        Some(Seen::Sent(true))
    );
    assert!(bucket.kept.state.is_none());
}

#[test]
fn a_bucket_that_is_older_than_its_template_gets_its_tokens_back() {
    let now = Instant::now();
    let ahead = now + Duration::from_secs(3600);
    let rate = Rate::new(1, Duration::from_secs(1)).unwrap();
    let rate = rate.with_burst(NonZeroU32::MIN);
    let template = FastPath::new(rate, ahead);
    let kept = template.keep(BucketState::new(rate, ahead));
    let fast_path = template.fresh(rate, now);
    fast_path.keep(template.fresh_state(&kept, now));
    assert!(fast_path.try_take(1, now));
    assert!(!fast_path.try_take(1, now + Duration::from_millis(999)));
    assert!(fast_path.try_take(1, now + Duration::from_secs(1)));
    // A bucket that is not ahead shares what the word means.
    let other = template.fresh(rate, ahead);
    assert!(Arc::ptr_eq(&other.scale, &template.scale));
}
