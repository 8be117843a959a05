use std::{fmt, sync::Arc, time::Duration};

use courteous_core::{Dice, Rate, RequestView};
use courteous_limit::{
    Ask, BucketSnapshot, InvalidRates, LimitId, Partition, QueuedTurn, Shared, StoreSnapshot, Take,
    Target, ThrottleSnapshot, TokenQueue, TokenStore, ToldQuota,
};
use tokio::time::Instant;

use crate::{
    Gauges, InvalidShare, LocalShare, Redis, RedisTurn, bucket_state::BucketState, keys::Keys,
    outage::Outage, worker::Worker,
};

/// The tokens of one limit, and this process's queue of waiters for them. All workers that use the
/// same name share the tokens.
///
/// In any window of length `w`, the calls that all workers send cost at most `burst + rate * w`
/// tokens.
///
/// # Sharing
///
/// A bucket is a handle: its clones are the same bucket, and the same worker. It can be read and
/// changed at any time, and can be made without a runtime. It may be a `static` that is used from
/// several runtimes, one after another or at once.
///
/// A forked process is a separate worker, with its own connection, from its first call to Redis on.
/// For one lease, both processes can use the slots that were leased at the fork. So fork before the
/// bucket is used.
///
/// # Waiting
///
/// Waiters form one queue, in the order of their calls. Each is woken when its slot is open. A
/// waiter that is woken and not polled holds up no other: it loses its slot when the slot expires.
/// When it is polled at last, it goes before all younger waiters.
///
/// # Costs
///
/// A `Cost` can be addressed to a bucket's handle, or to the template of
/// [`RedisKeyed`](crate::RedisKeyed) buckets. It cannot be settled: a slot that was used, or has
/// expired, cannot come back to the schedule. So responses have no `Settle`, and the estimate
/// stands.
///
/// # Outages
///
/// While Redis cannot be reached, a call waits until its deadline, or its `max_wait`. Then it is
/// rejected with [`Unavailable`](courteous_core::RejectReason::Unavailable). A call that has neither
/// is rejected when Redis has been away for 5 s ([`with_patience`](Self::with_patience)).
/// [`with_local_share`](Self::with_local_share) and [`fail_open`](Self::fail_open) choose
/// otherwise.
#[derive(Clone)]
pub struct RedisBucket {
    pub(crate) shared: Arc<Shared<BucketState>>,
    pub(crate) worker: Arc<Worker>,
    name: Arc<str>,
    id: LimitId,
}

impl RedisBucket {
    /// Makes the bucket that all workers call `name`, at `rate`.
    ///
    /// If workers state different rates for the same name, the strictest rate and the smallest
    /// burst of the last 5 s hold for all: see [`Gauges::rates`].
    #[must_use]
    pub fn new(redis: &Redis, name: &str, rate: Rate) -> Self {
        let worker = Arc::clone(&redis.worker);
        let keys = Keys::new(name, None);
        let shared = shared(rate, Outage::DEFAULT, &worker, keys, Instant::now());
        let bucket = Self {
            shared,
            worker,
            name: name.into(),
            id: LimitId::new(),
        };
        bucket.warn_if_slow();
        bucket
    }

    /// Lets calls without a deadline wait until Redis has been away for `patience`. The default is
    /// 5 s. Zero rejects these calls at once. This is the default choice for an outage: it replaces
    /// [`fail_open`](Self::fail_open) and [`with_local_share`](Self::with_local_share).
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        self.with_outage(Outage::Closed { patience })
    }

    /// Keeps a part of the rate back, for workers that cannot reach Redis.
    ///
    /// All workers must state the same share.
    ///
    /// # Errors
    ///
    /// Fails if the burst is not above the number of workers, as each worker needs a part of it.
    pub fn with_local_share(self, share: LocalShare) -> Result<Self, InvalidShare> {
        let share = share.check(self.rate())?;
        let bucket = self.with_outage(Outage::Share(share));
        bucket.warn_if_slow();
        Ok(bucket)
    }

    /// Sends all calls at once while Redis is away. Nothing is limited then.
    #[must_use]
    pub fn fail_open(self) -> Self {
        self.with_outage(Outage::Open)
    }

    /// Sets the jitter for calls with a retry outside. A closed bucket rejects these calls, and
    /// tells each a random time to try again, within `jitter` from its opening on. The default is a
    /// second. Zero means no jitter. Other waiters leave at the rate, in order.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration) -> Self {
        self.shared.with(|state| state.spread.set_most(jitter));
        self
    }

    /// Sets the source of the jitter. The default is the thread's own generator. Seeded dice make a
    /// run reproducible.
    #[must_use]
    pub fn with_dice(self, dice: Dice) -> Self {
        self.shared.with(|state| state.spread.set_dice(dice));
        self
    }

    /// Goes on at `rate`. A stricter rate holds for all workers from the next call to Redis on. A
    /// laxer rate holds once no worker has stated a stricter rate for 5 s. Then the bucket starts
    /// again, empty.
    ///
    /// # Errors
    ///
    /// Fails if there is a local share, and the burst is not above the number of workers.
    pub fn set_rate(&self, rate: Rate) -> Result<(), InvalidShare> {
        self.change(|state, wakes, now| {
            if let Outage::Share(share) = state.tokens.outage() {
                share.check(rate)?;
            }
            state.set(rate, state.tokens.outage(), now);
            state.look(now, wakes);
            Ok(())
        })?;
        self.warn_if_slow();
        Ok(())
    }

    /// Closes the bucket until `opens`. A bucket that already opens later is not changed. Redis is
    /// told at once, and each other worker knows at its next call to Redis.
    ///
    /// Waiters with a retry outside are rejected at once, and wait in the retry.
    pub fn close_until(&self, opens: Instant) {
        self.change(|state, wakes, now| state.close_until(opens, now, wakes));
    }

    /// Returns the bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the rate that this worker states.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.shared.with(|state| state.rate)
    }

    /// Returns the rate at which all workers together can really send through Redis. It is lower
    /// than [`rate`](Self::rate) in three cases. First, the burst is below 2, or below the tokens
    /// that come back in 20 ms plus one. Second, a part of the rate is a [`LocalShare`]. Third,
    /// another worker states a lower rate.
    #[must_use]
    pub fn effective_rate(&self) -> Rate {
        self.shared.with(|state| {
            let terms = state.calls.terms();
            let rate = Rate::new(1, terms.spacing_time()).unwrap_or(state.rate);
            match std::num::NonZeroU32::new(terms.burst()) {
                Some(burst) => rate.with_burst(burst),
                None => rate,
            }
        })
    }

    /// Returns the most that one call can cost. All slots of a call must be open at once, which
    /// bounds its cost.
    #[must_use]
    pub fn max_cost(&self) -> u32 {
        self.shared.with(|state| state.calls.terms().max_cost())
    }

    /// How many calls are in this process's queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.with(|state| state.waiting())
    }

    /// When the bucket opens, if it is closed as far as this worker knows.
    #[must_use]
    pub fn closed_until(&self) -> Option<Instant> {
        self.shared.with(|state| state.closed_until(Instant::now()))
    }

    /// Returns counters of the calls between this worker and Redis, and of their results.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        self.shared.with(|state| Gauges::of(state, Instant::now()))
    }

    /// Returns the text of the last error between this worker and Redis.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.shared.with(|state| state.calls.fault())
    }

    /// Returns the state of the bucket now, as far as this worker knows, for a health check or a
    /// support ticket.
    #[must_use]
    pub fn snapshot(&self) -> ThrottleSnapshot {
        let mut snapshot = ThrottleSnapshot::default();
        snapshot.rates = vec![self.rate()];
        snapshot.add(None, [self.state(Instant::now())]);
        snapshot.store = Some(self.store());
        snapshot
    }

    /// The state of the bucket at one instant.
    pub(crate) fn state(&self, now: Instant) -> BucketSnapshot {
        self.shared.with(|state| {
            let mut bucket = BucketSnapshot::default();
            bucket.waiting = state.waiting();
            let (closed, used_up) = (state.closed_until(now), state.used_up_until(now));
            bucket.until(closed, used_up, now)
        })
    }

    /// Redis, as this worker sees it.
    pub(crate) fn store(&self) -> StoreSnapshot {
        let gauges = self.gauges();
        let mut store = StoreSnapshot::default();
        store.server = self.worker.server().address();
        let was_asked = gauges.calls() > 0;
        store.connected = was_asked.then(|| gauges.is_connected());
        store.workers = was_asked.then(|| gauges.workers());
        // A server's answer may be long.
        store.last_error = self
            .last_error()
            .map(|fault| fault.chars().take(300).collect());
        store
    }

    /// Whether both handles are of the same bucket.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Warns if leases make the bucket slower than its stated rate. The bucket's parts have the
    /// same terms.
    fn warn_if_slow(&self) {
        #[cfg(feature = "tracing")]
        {
            let (rate, terms) = self
                .shared
                .with(|state| (state.rate, state.tokens.outage().terms(state.rate)));
            if terms.is_slow() {
                let spacing = terms.spacing_time();
                tracing::warn!(
                    name: "slow",
                    target: "courteous::throttle_redis",
                    key = Keys::new(&self.name, None).names()[0].as_str(),
                    rate = %rate,
                    spacing_us = u64::try_from(spacing.as_micros()).unwrap_or(u64::MAX),
                    "the burst is too small for leases: sends are slower than the rate"
                );
            }
        }
    }

    /// Returns the rate, if there is exactly one.
    pub(crate) fn only(rates: &[Rate]) -> Result<Rate, InvalidRates> {
        match rates {
            &[rate] => Ok(rate),
            _ => Err(InvalidRates::new("a bucket in Redis has one rate")),
        }
    }

    fn with_outage(self, outage: Outage) -> Self {
        self.shared
            .with(|state| state.set(state.rate, outage, Instant::now()));
        self
    }

    /// Makes a new bucket like this one, for a part of its name.
    pub(crate) fn part(&self, part: &[u8], now: Instant) -> Self {
        let (rate, outage, spread) = self
            .shared
            .with(|state| (state.rate, state.tokens.outage(), state.spread.clone()));
        let keys = Keys::new(&self.name, Some(part));
        let shared = shared(rate, outage, &self.worker, keys, now);
        shared.with(|state| state.spread = spread);
        Self {
            shared,
            worker: Arc::clone(&self.worker),
            name: Arc::clone(&self.name),
            id: self.id,
        }
    }

    /// Whether this is the only handle of the bucket, and a new bucket would behave the same.
    pub(crate) fn is_spare(&self, now: Instant) -> bool {
        Arc::strong_count(&self.shared) == 1 && self.shared.with(|state| state.is_idle(now))
    }

    fn change<R>(
        &self,
        f: impl FnOnce(&mut BucketState, &mut courteous_limit::Wakes, Instant) -> R,
    ) -> R {
        let result = self.shared.update(|state, now, wakes| f(state, wakes, now));
        self.worker.ensure_task();
        result
    }
}

/// Makes the state of a bucket whose calls `worker` makes.
fn shared(
    rate: Rate,
    outage: Outage,
    worker: &Worker,
    keys: Keys,
    now: Instant,
) -> Arc<Shared<BucketState>> {
    let longest_call = worker.server().longest_call();
    BucketState::shared(rate, outage, longest_call, worker.pending(), keys, now)
}

impl Partition for RedisBucket {
    type Store = Self;

    fn select(&self, _: RequestView<'_>) -> Self {
        self.clone()
    }

    fn snapshot(&self) -> Option<ThrottleSnapshot> {
        Some(Self::snapshot(self))
    }

    fn set_rates(&self, rates: &[Rate]) -> Result<(), InvalidRates> {
        let set = self.set_rate(Self::only(rates)?);
        set.map_err(|error| InvalidRates::new(error.to_string()))
    }
}

impl TokenStore for RedisBucket {
    type Turn = RedisTurn;

    fn take(&self, ask: &Ask) -> Take<RedisTurn> {
        let (entered, asked) = self.shared.with(|state| {
            // The clock is read under the lock: otherwise time could go back from one caller to the
            // next.
            let entered = state.enter(ask, Instant::now());
            (entered, state.calls.is_asked())
        });
        if asked {
            self.worker.ensure_task();
        }
        QueuedTurn::after(&self.shared, ask, entered)
            .map(|turn| RedisTurn::new(turn, Arc::clone(&self.worker)))
    }

    fn close_until(&self, opens: Instant) {
        Self::close_until(self, opens);
    }

    fn pace(&self, remaining: u64, reset: Duration) {
        // Redis is told with the next call. The slots that are leased until then are within the
        // quota.
        self.shared
            .with(|state| state.calls.pace(remaining, reset, Instant::now()));
    }

    fn hear(&self, target: Target, told: &[ToldQuota]) {
        self.shared
            .with(|state| state.hear(target, told, Instant::now()));
    }

    fn jitter(&self) -> Duration {
        self.shared.with(|state| state.spread.draw())
    }

    fn limit_id(&self) -> Option<LimitId> {
        Some(self.id)
    }
}

impl From<&RedisBucket> for LimitId {
    fn from(bucket: &RedisBucket) -> Self {
        bucket.id
    }
}

impl fmt::Debug for RedisBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBucket")
            .field("rate", &self.rate())
            .field("gauges", &self.gauges())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use std::num::NonZeroU32;

    use courteous_testkit::Events;

    use super::*;
    use crate::tests::sent::rate;

    #[test]
    fn a_burst_that_is_too_small_is_told() {
        let events = Events::listen();
        let seen = || events.take().len();
        let redis = Redis::open("redis://127.0.0.1:1").unwrap();
        let _ = RedisBucket::new(&redis, "slow", rate(100, 1));
        let told = events.take();
        let slow = "WARN courteous::throttle_redis slow key=courteous:{slow} rate=100/s burst 1 spacing_us=";
        assert!(told.len() == 1 && told[0].starts_with(slow), "{told:?}");
        let bucket = RedisBucket::new(&redis, "fast", rate(100, 20));
        assert_eq!(seen(), 0);
        bucket.set_rate(rate(100, 2)).unwrap();
        assert_eq!(seen(), 1);
        bucket.set_rate(rate(100, 20)).unwrap();
        assert_eq!(seen(), 0);
        // Each worker's part of the burst is at least 1, so one token is left for Redis.
        let share = LocalShare::new(0.1, NonZeroU32::new(19).unwrap()).unwrap();
        let _ = bucket.with_local_share(share).unwrap();
        assert_eq!(seen(), 1);
    }
}
