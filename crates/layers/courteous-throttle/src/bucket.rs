use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use courteous_core::{Dice, Rate, RequestView};
use courteous_limit::{
    Ask, BucketSnapshot, ChargeId, InvalidRates, LimitId, Observed, ObservedStore, Partition,
    QueuedTurn, Settled, Settler, Shared, Take, Target, ThrottleSnapshot, TokenQueue, TokenStore,
    ToldQuota, Wakes,
};
use tokio::time::Instant;

use crate::{
    bucket_state::BucketState,
    fast_path::{FastPath, Kept},
    turn::BucketTurn,
};

/// The tokens of one limit, and the calls that wait for them.
///
/// A bucket starts full. In any window of length `w`, the calls that are sent cost at most
/// `burst + rate * w` tokens, whatever waits, is cancelled, or is late.
///
/// # Sharing
///
/// A bucket is a handle: its clones are the same bucket. It can be read and changed at any time,
/// and needs no runtime. It may be a `static` that is used from several runtimes, one after another
/// or at once.
///
/// # Waiting
///
/// Waiters form one queue, in the order of their calls. Each is woken once, when its tokens are
/// there. It is woken again if this waiter, or an older one, is polled too late for its tokens.
///
/// A crowd is woken in groups: one ring of the timer serves all waiters whose tokens come back
/// within up to 2 ms, and within the time in which a quarter of the burst comes back.
///
/// A waiter that is woken and not polled does not hold up others. The tokens that it does not use
/// come back to the others. When it is polled at last, it goes before all younger waiters.
///
/// # Several limits
///
/// A bucket may have [several limits](Self::joint), each with a cost of its own: requests *and*
/// tokens. There is a handle for each limit. All handles are the same bucket, with one queue. A
/// call waits until it can pay all its costs, and pays them all at once. A handle reads and changes
/// the rate and the tokens of its own limit. All limits share the queue, and are closed together.
#[derive(Clone)]
pub struct Bucket {
    shared: Arc<Shared<Kept, FastPath>>,
    /// The number of the handle's limit.
    limit: u8,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let now = Instant::now();
        Self::of(BucketState::new(rate, now), FastPath::new(rate, now), 0)
    }

    /// A full bucket that keeps to several limits at once, each with a cost of its own: 60 requests
    /// a minute *and* 90,000 tokens a minute. Returns a handle for each limit, in the order of the
    /// rates. Any of the handles stands for the whole bucket: a layer that is made of one handle
    /// keeps to all limits.
    ///
    /// A call costs one token in each limit. [`Cost`](crate::Cost) can set another cost for each
    /// limit, and [`ThrottleLayer::with_cost`](crate::ThrottleLayer::with_cost) can set the cost in
    /// the first one.
    ///
    /// ```
    /// use courteous_throttle::{Bucket, Cost, Rate};
    /// # use std::num::NonZeroU32;
    ///
    /// # let burst = NonZeroU32::new(9_000).unwrap();
    /// let [requests, tokens] = Bucket::joint([
    ///     Rate::per_minute(60.0)?,
    ///     Rate::per_minute(90_000.0)?.with_burst(burst), // 9,000: what the dearest call may cost
    /// ]);
    /// assert_eq!((requests.available(), tokens.available()), (1, 9_000));
    /// let cost = Cost::new(1_200).on(&tokens);
    /// # let _ = cost;
    /// # Ok::<_, courteous_throttle::InvalidRate>(())
    /// ```
    ///
    /// There may be one to four limits. Another number does not compile.
    ///
    /// With a bucket for each key, the handles are those of the template. They address costs for
    /// every key. What they read and change is the template alone, from which new keys are made.
    /// [`Keyed::set_rate_on`](crate::Keyed::set_rate_on) changes every key.
    #[must_use]
    pub fn joint<const N: usize>(rates: [Rate; N]) -> [Self; N] {
        const {
            assert!(
                0 < N && N <= LimitId::MOST,
                "a bucket has one to four limits"
            )
        };
        let first = Self::new(rates.first().copied().unwrap_or(Rate::UNLIMITED));
        for (limit, &rate) in (0..).zip(&rates).skip(1) {
            first
                .shared
                .update(|state, now, wakes| state.add_rate(limit, rate, now, wakes));
        }
        std::array::from_fn(|limit| first.at(limit))
    }

    /// The handle of that limit of this bucket in which costs addressed to `limit` count. Use it on
    /// the bucket of one key, where `limit` is a handle of the template. `None` if this bucket has
    /// no such limit.
    #[must_use]
    pub fn limit(&self, limit: impl Into<LimitId>) -> Option<Self> {
        let limit = limit.into();
        let handle = self.at(limit.index());
        let known = limit.is_beside(self.id()) && !handle.rates().is_empty();
        known.then_some(handle)
    }

    fn at(&self, limit: usize) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            limit: u8::try_from(limit).unwrap_or(u8::MAX),
        }
    }

    fn of(state: BucketState, fast_path: FastPath, limit: u8) -> Self {
        let kept = fast_path.keep(state);
        Self {
            shared: Arc::new(Shared::with_shortcut(kept, fast_path)),
            limit,
        }
    }

    fn id(&self) -> LimitId {
        self.shared.shortcut().id().at(self.limit.into())
    }

    /// Also keeps to `rate`, with a burst of its own, at the same cost: 5 per second *and* 1,000
    /// per hour. For limits with different costs, see [`joint`](Self::joint).
    #[must_use]
    pub fn and(self, rate: Rate) -> Self {
        self.shared.update(|state, now, wakes| {
            state.set_own_rates(self.limit, true);
            state.add_rate(self.limit, rate, now, wakes);
        });
        self
    }

    /// Takes all tokens of all limits out. Use it for a process that may have been restarted, and
    /// does not know what it sent before. A rate that is added after that starts full.
    #[must_use]
    pub fn start_empty(self) -> Self {
        self.shared.update(|state, now, _| state.empty(now));
        self
    }

    /// Spaces sends evenly, without a burst: sets the burst of each of the limit's rates to 1.
    ///
    /// As a timer is up to 2 ms late, a queue then advances at 500 calls per second at most.
    #[must_use]
    pub fn smooth(self) -> Self {
        self.shared.update(|state, now, wakes| {
            let one = std::num::NonZeroU32::MIN;
            let rates: Vec<_> = state
                .rates(self.limit)
                .map(|rate| rate.with_burst(one))
                .collect();
            state.set_own_rates(self.limit, true);
            state.set_rates(self.limit, &rates, now, wakes);
        });
        self
    }

    /// Spreads the calls that a closed bucket holds up over `jitter`, which starts when the bucket
    /// opens. Each call has a draw of its own. The default is a second. Zero turns the jitter off.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration) -> Self {
        self.shared
            .with(|state| Arc::make_mut(&mut state.settings).spread.set_most(jitter));
        self
    }

    /// Sets the source of the jitter. The default is the thread's own generator. Seeded dice make a
    /// run reproducible.
    #[must_use]
    pub fn with_dice(self, dice: Dice) -> Self {
        self.shared
            .with(|state| Arc::make_mut(&mut state.settings).spread.set_dice(dice));
        self
    }

    /// Sets `rate`, which replaces all rates that the limit had. The tokens stay, up to the new
    /// burst. Each waiter gets its new turn. A waiter is rejected if its wait has become too long,
    /// or if it costs more than the burst.
    pub fn set_rate(&self, rate: Rate) {
        self.set_rates(&[rate]);
    }

    /// Does the same as [`set_rate`](Self::set_rate), with several rates. Each new rate takes over
    /// the tokens of the old rate at the same position. If there is no old rate at that position,
    /// it takes over the tokens of the first one. If `rates` is empty, nothing changes.
    pub fn set_rates(&self, rates: &[Rate]) {
        self.shared.update(|state, now, wakes| {
            state.set_own_rates(self.limit, true);
            state.set_rates(self.limit, rates, now, wakes);
        });
    }

    /// Does the same as [`set_rates`](Self::set_rates), for all keys alike, but leaves the waiters
    /// to be woken in `wakes`.
    pub(crate) fn set_rates_into(&self, rates: &[Rate], wakes: &mut Wakes) {
        self.shared.update_into(wakes, |state, now, wakes| {
            state.set_own_rates(self.limit, false);
            state.set_rates(self.limit, rates, now, wakes);
        });
    }

    /// Lets no call pass before `opens`. A bucket that already opens later than that is not
    /// changed. It opens with at most one token.
    ///
    /// A waiter with a retry outside is rejected at once, so that the retry waits instead.
    pub fn close_until(&self, opens: Instant) {
        self.shared
            .update(|state, now, wakes| state.close_until(opens, now, wakes));
    }

    /// The rates that the limit keeps to.
    #[must_use]
    pub fn rates(&self) -> Vec<Rate> {
        self.shared.with(|state| state.rates(self.limit).collect())
    }

    /// How many whole tokens of the limit are there and are not set aside for a waiter.
    #[must_use]
    pub fn available(&self) -> u32 {
        let now = Instant::now();
        let at_rest = self.shared.shortcut().available(now);
        at_rest.unwrap_or_else(|| self.shared.with(|state| state.available(self.limit, now)))
    }

    /// How many calls are in the queue, or wait for a quota that the server says is used up.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.with(|state| state.waiting())
    }

    /// When the bucket opens, if it is closed.
    #[must_use]
    pub fn closed_until(&self) -> Option<Instant> {
        let now = Instant::now();
        self.shared.with(|state| state.closed_until(now))
    }

    /// What is in force now: for a health check, or a support ticket. If the bucket has
    /// [several limits](Self::joint), the snapshot has all rates, and the tokens of each.
    #[must_use]
    pub fn snapshot(&self) -> ThrottleSnapshot {
        let bucket = self.snapshot_at(Instant::now());
        let mut snapshot = ThrottleSnapshot::default();
        snapshot.rates = self.snapshot_rates();
        snapshot.add(None, [bucket]);
        snapshot
    }

    /// The rates of all limits, limit by limit.
    pub(crate) fn snapshot_rates(&self) -> Vec<Rate> {
        let mut rates = self.all_rates();
        rates.sort_by_key(|&(limit, _)| limit);
        rates.into_iter().map(|(_, rate)| rate).collect()
    }

    /// Splits `rates` among the limits. They must have the order in which
    /// [`snapshot_rates`](Self::snapshot_rates) returns rates.
    pub(crate) fn split<'a>(
        &self,
        mut rates: &'a [Rate],
    ) -> Result<Vec<(Self, &'a [Rate])>, InvalidRates> {
        let all = self.all_rates();
        let counts = (0..LimitId::MOST).map(|limit| {
            let of_limit = all.iter().filter(|(of, _)| usize::from(*of) == limit);
            (limit, of_limit.count())
        });
        let counts: Vec<_> = counts.filter(|&(_, count)| count > 0).collect();
        if let &[(limit, _)] = &*counts {
            return Ok(vec![(self.at(limit), rates)]);
        }
        if rates.len() != all.len() {
            return Err(InvalidRates::new(format!(
                "{} limits with {} rates cannot have {}: state all of them, in their order",
                counts.len(),
                all.len(),
                rates.len()
            )));
        }
        let mut parts = Vec::new();
        for (limit, count) in counts {
            let (part, rest) = rates.split_at(count);
            parts.push((self.at(limit), part));
            rates = rest;
        }
        Ok(parts)
    }

    /// What is in force in this bucket at one instant. Needs no lock if the bucket is at rest.
    pub(crate) fn snapshot_at(&self, now: Instant) -> BucketSnapshot {
        match self.shared.shortcut().available(now) {
            Some(available) => {
                let mut bucket = BucketSnapshot::default();
                bucket.available = Some(available);
                bucket
            }
            None => self.shared.with(|state| state.snapshot(now)),
        }
    }

    /// A handle that does not keep a key from being forgotten.
    pub(crate) fn downgrade(&self) -> WeakBucket {
        WeakBucket {
            shared: Arc::downgrade(&self.shared),
            limit: self.limit,
        }
    }

    /// How many calls that are only observed would wait in the queue: see
    /// [`ThrottleLayer::observe_only`](crate::ThrottleLayer::observe_only).
    #[must_use]
    pub fn observed_waiting(&self) -> usize {
        let now = Instant::now();
        let waiting =
            |state: &mut BucketState| state.known_shadow().map(|shadow| shadow.waiting(now));
        self.shared.with(waiting).unwrap_or_default()
    }

    /// When the bucket would open, if it were closed by what servers said to calls that are only
    /// observed.
    #[must_use]
    pub fn observed_closed_until(&self) -> Option<Instant> {
        let now = Instant::now();
        self.shared
            .with(|state| state.known_shadow()?.at(now).closed_until(now))
    }

    /// A new bucket with the same settings as this one.
    pub(crate) fn fresh(&self, start_empty: bool, now: Instant) -> Self {
        let fast_path = self.shared.shortcut();
        let mut state = self.shared.peek(|kept| fast_path.fresh_state(kept, now));
        if start_empty {
            state.empty(now);
        }
        let fast_path = fast_path.fresh(state.first_rate(), now);
        Self::of(state, fast_path, self.limit)
    }

    /// A [`fresh`](Self::fresh) bucket for keys that share one. It cannot be closed: what a server
    /// says to one of these keys does not hold for the others.
    pub(crate) fn fresh_shared(&self, start_empty: bool, now: Instant) -> Self {
        let bucket = self.fresh(start_empty, now);
        bucket
            .shared
            .with(|state| Arc::make_mut(&mut state.settings).shared = true);
        bucket
    }

    /// Whether a new bucket would have more tokens.
    pub(crate) fn is_in_debt(&self, now: Instant) -> bool {
        self.shared.with(|state| !state.is_idle(now))
    }

    /// All rates, each with the number of its limit.
    pub(crate) fn all_rates(&self) -> Vec<(u8, Rate)> {
        self.shared.with(|state| state.all_rates().collect())
    }

    /// Whether there is no other handle of this bucket, and a new bucket with `rates` may take its
    /// place. For that, the bucket must be idle, and must have been given no other rates of its
    /// own.
    pub(crate) fn is_spare(&self, rates: &[(u8, Rate)], now: Instant) -> bool {
        let is_like_new = |state: &mut BucketState| {
            state.is_idle(now)
                && (!state.has_own_rates() || state.all_rates().eq(rates.iter().copied()))
        };
        let at_rest = self.shared.shortcut().is_full(now);
        Arc::strong_count(&self.shared) == 1
            && at_rest.unwrap_or_else(|| self.shared.with(is_like_new))
    }

    /// What becomes of a call that the fast path did not let through.
    #[cold]
    fn take_or_wait(&self, ask: &Ask, now: Instant) -> Take<BucketTurn> {
        let entered = self.shared.with(|state| state.enter(ask, now));
        QueuedTurn::after(&self.shared, ask, entered).map(BucketTurn::new)
    }
}

impl Partition for Bucket {
    type Store = Self;

    fn select(&self, _: RequestView<'_>) -> Self {
        self.clone()
    }

    fn snapshot(&self) -> Option<ThrottleSnapshot> {
        Some(Self::snapshot(self))
    }

    fn rates(&self) -> Option<Vec<Rate>> {
        Some(self.snapshot_rates())
    }

    fn set_rates(&self, rates: &[Rate]) -> Result<(), InvalidRates> {
        for (limit, rates) in self.split(rates)? {
            limit.set_rates(rates);
        }
        Ok(())
    }
}

impl TokenStore for Bucket {
    type Turn = BucketTurn;

    #[inline]
    fn take(&self, ask: &Ask) -> Take<BucketTurn> {
        let now = Instant::now();
        if ask.charge().is_none() && self.shared.shortcut().try_take(ask.cost(), now) {
            return Take::Taken;
        }
        self.take_or_wait(ask, now)
    }

    fn close_until(&self, opens: Instant) {
        Self::close_until(self, opens);
    }

    fn pace(&self, remaining: u64, reset: Duration) {
        self.shared
            .update(|state, now, wakes| state.pace(remaining, reset, now, wakes));
    }

    fn hear(&self, target: Target, told: &[ToldQuota]) {
        self.shared
            .update(|state, now, _| state.hear(target, told, now));
    }

    fn has_rate(&self) -> bool {
        let fast_path = self.shared.shortcut();
        self.shared.peek(|kept| fast_path.has_rate(kept))
    }

    fn jitter(&self) -> Duration {
        self.shared.with(|state| state.draw())
    }

    fn observed(&self) -> Option<&dyn ObservedStore> {
        Some(self)
    }

    fn limit_id(&self) -> Option<LimitId> {
        Some(self.id())
    }

    fn settler(&self) -> Option<Arc<dyn Settler>> {
        Some(Arc::new(self.clone()))
    }
}

/// The bucket of virtual tokens.
impl ObservedStore for Bucket {
    fn take(&self, ask: &Ask) -> Observed {
        let now = Instant::now();
        self.shared.with(|state| state.observe(ask, now))
    }

    fn close_until(&self, opens: Instant) {
        let now = Instant::now();
        self.shared.with(|state| {
            let shadow = state.shadow(now).at(now);
            shadow.close_until(opens, now, &mut Wakes::new());
        });
    }

    fn pace(&self, remaining: u64, reset: Duration) {
        let now = Instant::now();
        self.shared.with(|state| {
            let shadow = state.shadow(now).at(now);
            shadow.pace(remaining, reset, now, &mut Wakes::new());
        });
    }

    fn hear(&self, target: Target, told: &[ToldQuota]) {
        let now = Instant::now();
        self.shared
            .with(|state| state.shadow(now).at(now).hear(target, told, now));
    }
}

impl Settler for Bucket {
    fn settle(&self, charge: ChargeId, limit: usize, actual: u32) -> Option<Settled> {
        self.shared
            .update(|state, now, wakes| state.settle(charge, limit, actual, now, wakes))
    }

    fn settle_at_least(&self, charge: ChargeId, limit: usize, tokens: u32) -> Option<Settled> {
        self.shared
            .update(|state, now, wakes| state.settle_at_least(charge, limit, tokens, now, wakes))
    }

    fn close(&self, charge: ChargeId) {
        self.shared.with(|state| state.forget(charge));
    }
}

/// A handle of a [`Bucket`] that may be forgotten meanwhile.
#[derive(Debug)]
pub(crate) struct WeakBucket {
    shared: Weak<Shared<Kept, FastPath>>,
    limit: u8,
}

impl WeakBucket {
    pub(crate) fn upgrade(&self) -> Option<Bucket> {
        let shared = self.shared.upgrade()?;
        let limit = self.limit;
        Some(Bucket { shared, limit })
    }

    /// Whether this is a handle of `bucket`.
    pub(crate) fn is(&self, bucket: &Bucket) -> bool {
        std::ptr::eq(self.shared.as_ptr(), Arc::as_ptr(&bucket.shared))
    }
}

impl From<&Bucket> for LimitId {
    fn from(bucket: &Bucket) -> Self {
        bucket.id()
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("rates", &self.rates())
            .field("available", &self.available())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
