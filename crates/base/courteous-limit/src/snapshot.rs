use std::{borrow::Cow, error::Error, fmt, time::Duration};

use tokio::time::Instant;

use courteous_core::{Origin, Rate, snapshot};

/// How many characters of a key are shown.
const SHOWN: usize = 300;

/// Whose the tokens, or permits, are that several keys share.
pub const WITHOUT_ROOM: &str = "(keys without room)";

snapshot! {
    /// What is in force at a throttle's tokens, at one instant.
    #[derive(Default)]
    pub struct ThrottleSnapshot {
        /// The rates, of each key apart.
        pub rates: Vec<Rate>,
        /// How many keys have tokens of their own; none if all requests share the same tokens.
        pub keys: Option<usize>,
        /// How many calls wait, for all keys.
        pub waiting: usize,
        /// How many buckets are closed, or have a used-up quota.
        pub closed: usize,
        /// The buckets that hold up most: those where calls wait, then those that are closed for the longest, then those with
        /// the fewest tokens. At most [`MAX_BUCKETS`](ThrottleSnapshot::MAX_BUCKETS). Of keys, none that is at rest.
        pub buckets: Vec<BucketSnapshot>,
        /// Where the tokens are, if not in this process.
        pub store: Option<StoreSnapshot>,
    }
}

impl ThrottleSnapshot {
    /// How many buckets are shown.
    pub const MAX_BUCKETS: usize = 10;

    /// Adds `buckets`, and returns the places among them of those that are shown. The rates have to be there already.
    ///
    /// The buckets of the `keys` that have one of their own come first, then those that further keys share. A partition without
    /// keys has one bucket.
    pub fn add(
        &mut self,
        keys: Option<usize>,
        buckets: impl IntoIterator<Item = BucketSnapshot>,
    ) -> Vec<usize> {
        self.keys = keys;
        let mut busiest = Busiest::new(Self::MAX_BUCKETS);
        let bursts: Vec<_> = self.rates.iter().map(|rate| rate.burst().get()).collect();
        let full = bursts.iter().copied().min().unwrap_or(0);
        for bucket in buckets {
            self.waiting += bucket.waiting;
            self.closed += usize::from(bucket.is_closed());
            let is_at_rest = bucket.waiting == 0
                && !bucket.is_closed()
                && match &bucket.available_by_rate {
                    Some(each) if each.len() == bursts.len() => each
                        .iter()
                        .zip(&bursts)
                        .all(|(available, burst)| available >= burst),
                    _ => (bucket.available).is_none_or(|available| available >= full),
                };
            match is_at_rest && keys.is_some() {
                true => busiest.skip(),
                false => busiest.add(bucket.rank(), bucket),
            }
        }
        let (places, mut shown): (Vec<_>, Vec<_>) = busiest.into_iter().unzip();
        for (&place, bucket) in places.iter().zip(&mut shown) {
            if keys.is_some_and(|keys| place >= keys) {
                bucket.key = Some(WITHOUT_ROOM.to_owned());
            }
        }
        self.buckets = shown;
        places
    }

    /// Says whose the shown buckets are, by their places among those that are shown, as `labels` says.
    pub fn label<K>(&mut self, labels: Option<&Labels<K>>, keys: Vec<(usize, K)>) {
        for (place, key) in keys {
            if let (Some(labels), Some(bucket)) = (labels, self.buckets.get_mut(place)) {
                bucket.key = Some(labels.of(&key));
            }
        }
    }
}

snapshot! {
    /// One bucket of a throttle, at one instant.
    #[derive(Default)]
    pub struct BucketSnapshot {
        /// Whose it is. Origins are shown; all other keys only with [`Labels`], as they may be credentials.
        pub key: Option<String>,
        /// How many whole tokens are there and not set aside for a waiter, of the rate that has the fewest. None if another machine
        /// would have to be asked.
        pub available: Option<u32>,
        /// The same for each of the [rates](ThrottleSnapshot::rates), in their order, if there are
        /// several: so it shows which one is short. None if there is one rate, or the bucket is
        /// closed.
        pub available_by_rate: Option<Vec<u32>>,
        /// How many calls wait.
        pub waiting: usize,
        /// How long until it opens, if it is closed.
        pub closed_for: Option<Duration>,
        /// How long until the last of the quotas opens that the server says are used up.
        pub quota_used_up_for: Option<Duration>,
    }
}

snapshot! {
    /// The store of tokens that several machines share, as this process sees it.
    #[derive(Default)]
    pub struct StoreSnapshot {
        /// Where it is, without users and passwords.
        pub server: String,
        /// Whether it answered last, and in time. If not, this process stands alone. None before it was first asked.
        pub connected: Option<bool>,
        /// How many workers used the tokens lately.
        pub workers: Option<u32>,
        /// What went wrong last.
        pub last_error: Option<String>,
    }
}

impl BucketSnapshot {
    /// The snapshot with the time until `closed` and until `used_up`.
    #[must_use]
    pub fn until(
        mut self,
        closed: Option<Instant>,
        used_up: Option<Instant>,
        now: Instant,
    ) -> Self {
        let left = |until: Instant| until.saturating_duration_since(now);
        self.closed_for = closed.map(left);
        self.quota_used_up_for = used_up.map(left);
        self
    }

    /// Whether it is closed, or has a used-up quota.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed_for.is_some() || self.quota_used_up_for.is_some()
    }

    /// The greater, the more it holds up.
    fn rank(&self) -> impl Ord + use<> {
        let closed = self.closed_for.max(self.quota_used_up_for);
        let available = self.available.unwrap_or(u32::MAX);
        (self.waiting, closed, std::cmp::Reverse(available))
    }
}

/// The greatest of many, in order, with their places among all.
#[derive(Debug)]
pub struct Busiest<R, T> {
    max: usize,
    seen: usize,
    shown: Vec<(R, usize, T)>,
}

impl<R: Ord, T> Busiest<R, T> {
    /// At most `max`.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self {
            max,
            seen: 0,
            shown: Vec::new(),
        }
    }

    /// Counts one that is not shown.
    pub const fn skip(&mut self) {
        self.seen += 1;
    }

    /// Adds one; of those of equal rank, the first stays.
    pub fn add(&mut self, rank: R, value: T) {
        let place = self.seen;
        self.seen += 1;
        let at = self.shown.partition_point(|(other, ..)| *other >= rank);
        if at < self.max {
            self.shown.truncate(self.max - 1);
            self.shown.insert(at, (rank, place, value));
        }
    }
}

impl<R, T> IntoIterator for Busiest<R, T> {
    type Item = (usize, T);
    type IntoIter =
        std::iter::Map<std::vec::IntoIter<(R, usize, T)>, fn((R, usize, T)) -> (usize, T)>;

    fn into_iter(self) -> Self::IntoIter {
        let shown = self.shown.into_iter();
        shown.map(|(_, place, value)| (place, value))
    }
}

/// How the keys of a partition are shown in snapshots.
///
/// A key may be a credential, so none is shown unless it is an origin, or a function is given that says what may be shown.
pub struct Labels<K> {
    label: fn(&K) -> String,
    clone: fn(&K) -> K,
}

impl<K: Clone> Labels<K> {
    /// Shows a key as `label` says: its first 300 characters.
    ///
    /// The keys that are shown are cloned under the lock of their partition, so `Clone` must not make a call; `label` runs
    /// without the lock.
    #[must_use]
    pub const fn new(label: fn(&K) -> String) -> Self {
        Self {
            label,
            clone: |key| key.clone(),
        }
    }
}

impl Labels<Origin> {
    /// Shows origins as they are written, without users.
    #[must_use]
    pub const fn origins() -> Self {
        Self::new(|origin| origin.to_string())
    }
}

impl<K> Labels<K> {
    /// What makes copies of keys.
    #[must_use]
    pub const fn cloning(&self) -> fn(&K) -> K {
        self.clone
    }

    /// What is shown of `key`.
    #[must_use]
    pub fn of(&self, key: &K) -> String {
        let mut label = (self.label)(key);
        if let Some((end, _)) = label.char_indices().nth(SHOWN) {
            label.truncate(end);
        }
        label
    }
}

impl<K> Clone for Labels<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Labels<K> {}

impl<K> fmt::Debug for Labels<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Labels").finish_non_exhaustive()
    }
}

/// Rates that a partition cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRates {
    rule: Cow<'static, str>,
}

impl InvalidRates {
    /// Rates that break `rule`, which is a clause.
    #[must_use]
    pub fn new(rule: impl Into<Cow<'static, str>>) -> Self {
        Self { rule: rule.into() }
    }
}

impl fmt::Display for InvalidRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)
    }
}

impl Error for InvalidRates {}
