use std::{
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use courteous_core::{Origin, Rate, RequestView};
use courteous_limit::{
    ByOrigin, InvalidRates, KeyOf, KeyedMap, Labels, Partition, Sought, ThrottleSnapshot,
};
use tokio::time::Instant;

use crate::{InvalidShare, RedisBucket};

/// A shared bucket for each key: for each host, or each credential.
///
/// A key's state in this process is made when it is first needed. It may be forgotten once it knows
/// nothing that Redis does not. With more than 64 keys, each new key checks whether four others can
/// be forgotten. So memory is bounded by the keys in use plus a third, and by
/// [`with_max_keys`](Self::with_max_keys). Redis forgets a key about an hour after its last use.
///
/// # Too many keys
///
/// A new key is never rejected because others are in use. If there is no room for the key, this
/// process knows it only for the time of the call, and asks Redis again with the next call. The
/// rate holds as ever, and Redis knows what a server says to the key. While Redis is away, each
/// such call starts with its own [`LocalShare`](crate::LocalShare), if there is one.
///
/// With a bucket for each origin, no group of hosts has more than a quarter of the keys (rounded
/// up). So a server with many names fills only its own quarter, and leaves room for others. Hosts
/// belong to one group if they share the last two labels of their names, the first 24 bits of their
/// IPv4 addresses, or the first 64 bits of their IPv6 addresses. Keys of other kinds have no group.
///
/// Redis sees only a hash of the key and of the bucket's name, as the key may be a credential.
///
/// # Sharing
///
/// Its clones have the same buckets. A key's `Hash` and `Eq` run under the lock of the buckets, so
/// they must not make a call themselves.
pub struct RedisKeyed<K, F> {
    keys: Arc<Mutex<Keys<K>>>,
    key_of: F,
    bytes: fn(&K) -> Vec<u8>,
}

/// A shared bucket for each [origin](RequestView::origin).
pub type RedisPerOrigin = RedisKeyed<Origin, ByOrigin>;

struct Keys<K> {
    buckets: KeyedMap<K, RedisBucket>,
    template: RedisBucket,
    labels: Option<Labels<K>>,
}

impl RedisPerOrigin {
    /// Gives every origin a bucket like `template`.
    #[must_use]
    pub fn per_origin(template: RedisBucket) -> Self {
        let keys = KeyedMap::per_origin();
        let keyed = Self::with_bytes(keys, template, ByOrigin, origin_bytes);
        keyed.with_labels(Labels::origins())
    }
}

impl<K: Eq + Hash + AsRef<[u8]>, F: Fn(RequestView<'_>) -> K> RedisKeyed<K, F> {
    /// Gives every key a bucket like `template`. The tokens of `template` itself are not used.
    /// `key_of` returns the key of a request. It must return the same key on all workers.
    ///
    /// The default for the most keys is 10,000, at about 1 KiB each.
    #[must_use]
    pub fn new(template: RedisBucket, key_of: F) -> Self {
        Self::with_bytes(KeyedMap::new(), template, key_of, |key| {
            key.as_ref().to_vec()
        })
    }
}

impl<K, F> RedisKeyed<K, F> {
    fn with_bytes(
        buckets: KeyedMap<K, RedisBucket>,
        template: RedisBucket,
        key_of: F,
        bytes: fn(&K) -> Vec<u8>,
    ) -> Self {
        Self {
            keys: Arc::new(Mutex::new(Keys {
                buckets,
                template,
                labels: None,
            })),
            key_of,
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Keys<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets this process know at most `max` keys at a time. For further keys, see
    /// [above](Self#too-many-keys).
    ///
    /// At the maximum, a new key looks at up to 256 others for a key that can be forgotten, and the
    /// next new key goes on from there. With 10,000 keys, 40 calls look at all of them. Until then,
    /// a key that could be forgotten counts as in use.
    #[must_use]
    pub fn with_max_keys(self, max: NonZeroUsize) -> Self {
        self.lock().buckets.set_max(max);
        self
    }

    /// Shows keys in snapshots as `labels` says. The default shows origins, and no other keys, as
    /// keys may be credentials.
    #[must_use]
    pub fn with_labels(self, labels: Labels<K>) -> Self {
        self.lock().labels = Some(labels);
        self
    }

    /// Returns the state of the buckets now, as far as this worker knows, for a health check or a
    /// support ticket. It shows the ten keys that hold up most. It leaves out keys at which nothing
    /// waits and nothing is closed.
    #[must_use]
    pub fn snapshot(&self) -> ThrottleSnapshot {
        let now = Instant::now();
        let mut snapshot = ThrottleSnapshot::default();
        let keys = self.lock();
        let (template, labels) = (keys.template.clone(), keys.labels);
        let buckets: Vec<_> = keys.buckets.values().cloned().collect();
        drop(keys);
        snapshot.rates = vec![template.rate()];
        let states = buckets.iter().map(|bucket| bucket.state(now));
        let shown = snapshot.add(Some(buckets.len()), states);
        let shown: Vec<_> = shown.iter().map(|&at| &buckets[at]).collect();
        // Each bucket knows only its own calls to Redis. A key whose last call was answered tells
        // more than a key that was not used since an outage, or than the template, which makes no
        // calls.
        let stores = buckets.iter().map(RedisBucket::store);
        let best = stores.max_by_key(|store| (store.connected, store.workers));
        snapshot.store = Some(best.unwrap_or_else(|| template.store()));
        // The keys of these buckets are cloned under the lock, and shown without it.
        let place = |bucket: &RedisBucket| shown.iter().position(|other| other.is(bucket));
        let keys = labels.map(|labels| self.lock().buckets.keys_of(place, labels.cloning()));
        snapshot.label(labels.as_ref(), keys.unwrap_or_default());
        snapshot
    }

    /// Goes on at `rate`, for every key: see [`RedisBucket::set_rate`].
    ///
    /// # Errors
    ///
    /// Fails if the rate does not fit the keys' [`LocalShare`](crate::LocalShare). Then nothing has
    /// changed.
    pub fn set_rate(&self, rate: Rate) -> Result<(), InvalidShare> {
        let template = self.lock().template.clone();
        template.set_rate(rate)?;
        // A key that is added meanwhile is made from the template. The rates are set without the
        // lock of the keys, as each change wakes waiters, which may run any code.
        let buckets: Vec<_> = self.lock().buckets.values().cloned().collect();
        buckets.iter().try_for_each(|bucket| bucket.set_rate(rate))
    }

    /// How many keys this process knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().buckets.len()
    }

    /// Whether this process knows no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash, F> RedisKeyed<K, F> {
    /// The bucket of `key`, if this process knows it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<RedisBucket> {
        self.lock().buckets.get(key).cloned()
    }
}

impl<K: Eq + Hash, F> RedisKeyed<K, F> {
    /// Returns the bucket of a key that was not known a moment ago.
    #[cold]
    fn insert(&self, key: K) -> RedisBucket {
        let now = Instant::now();
        // The bucket is made, and forgotten buckets are dropped, without the lock: either may run
        // the key's code.
        let bytes = (self.bytes)(&key);
        let mut forgotten = Vec::new();
        let mut keys = self.lock();
        if let Some(known) = keys.buckets.get(&key).cloned() {
            return known;
        }
        let bucket = keys.template.part(&bytes, now);
        let new = bucket.clone();
        let is_spare = |bucket: &RedisBucket| bucket.is_spare(now);
        let place = keys.buckets.place(&key);
        let unused = keys
            .buckets
            .insert(place, key, is_spare, || new, &mut forgotten)
            .err();
        drop(keys);
        drop(unused);
        bucket
    }
}

impl<K, F> Partition for RedisKeyed<K, F>
where
    K: Eq + Hash,
    F: KeyOf<K>,
{
    type Store = RedisBucket;

    fn select(&self, head: RequestView<'_>) -> RedisBucket {
        let sought = self.key_of.seek(head);
        let known = sought.find(&mut self.lock().buckets).cloned();
        known.unwrap_or_else(|| self.insert(sought.into_key()))
    }

    fn snapshot(&self) -> Option<ThrottleSnapshot> {
        Some(Self::snapshot(self))
    }

    fn rates(&self) -> Option<Vec<Rate>> {
        Some(vec![self.lock().template.rate()])
    }

    fn set_rates(&self, rates: &[Rate]) -> Result<(), InvalidRates> {
        let set = self.set_rate(RedisBucket::only(rates)?);
        set.map_err(|error| InvalidRates::new(error.to_string()))
    }
}

/// Returns the same bytes for equal origins.
fn origin_bytes(origin: &Origin) -> Vec<u8> {
    let scheme = origin.scheme().map(http::uri::Scheme::as_str);
    let host = origin.host().map(|host| host.to_string());
    let port = origin.port();
    format!("{scheme:?} {host:?} {port:?}").into_bytes()
}

impl<K, F: Clone> Clone for RedisKeyed<K, F> {
    fn clone(&self) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
            key_of: self.key_of.clone(),
            bytes: self.bytes,
        }
    }
}

impl<K, F> fmt::Debug for RedisKeyed<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys are not shown, as they may be credentials.
        let keys = self.lock();
        f.debug_struct("RedisKeyed")
            .field("len", &keys.buckets.len())
            .field("max", &keys.buckets.max())
            .field("template", &keys.template)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    #[test]
    fn all_spellings_of_an_origin_have_one_key_in_redis() {
        let bytes = |uri: &str| {
            let request = Request::builder().uri(uri).body(()).unwrap();
            let bytes = origin_bytes(&RequestView::of(&request).origin());
            String::from_utf8(bytes).unwrap()
        };
        for (uri, expected) in [
            (
                "https://API.example./a",
                r#"Some("https") Some("api.example") Some(443)"#,
            ),
            (
                "http://u@api.example:8080",
                r#"Some("http") Some("api.example") Some(8080)"#,
            ),
            (
                "http://127.1/",
                r#"Some("http") Some("127.0.0.1") Some(80)"#,
            ),
            (
                "https://[0:0::1]/",
                r#"Some("https") Some("[::1]") Some(443)"#,
            ),
            ("/a", "None None None"),
        ] {
            assert_eq!(bytes(uri), expected);
        }
    }
    #[test]
    fn a_snapshot_shows_where_redis_is_and_no_password_or_credential() {
        let redis = crate::Redis::open("redis://user:geheim@redis.internal:6380/1").unwrap();
        let rate = "100/s burst 20".parse().unwrap();
        let template = RedisBucket::new(&redis, "payments", rate);
        let keyed = RedisKeyed::new(template.clone(), |head| {
            head.headers()["authorization"].as_bytes().to_vec()
        });
        let request = Request::builder().header("authorization", "geheim");
        // A key at rest is not shown.
        let opens = Instant::now() + Duration::from_secs(60);
        let bucket = keyed.select(RequestView::of(&request.body(()).unwrap()));
        assert!(keyed.snapshot().buckets.is_empty());
        bucket.close_until(opens);
        for snapshot in [template.snapshot(), keyed.snapshot()] {
            let store = snapshot.store.as_ref().unwrap();
            assert_eq!(store.server, "redis.internal:6380");
            assert_eq!(snapshot.rates, [rate]);
            assert_eq!(snapshot.buckets.len(), 1);
            assert!(!format!("{snapshot:?}").contains("geheim"));
        }
        assert_eq!(keyed.snapshot().keys, Some(1));
        // Redis was not asked yet.
        assert_eq!(keyed.snapshot().store.unwrap().connected, None);
        let origins = RedisPerOrigin::per_origin(template);
        let request = Request::builder().uri("https://me:geheim@api.test/");
        let bucket = origins.select(RequestView::of(&request.body(()).unwrap()));
        bucket.close_until(opens);
        let snapshot = origins.snapshot();
        assert_eq!(snapshot.buckets[0].key.as_deref(), Some("https://api.test"));
    }

    #[test]
    fn a_rate_that_is_set_is_that_of_all_keys_or_of_none() {
        let redis = crate::Redis::open("redis://redis.internal/").unwrap();
        let template = RedisBucket::new(&redis, "payments", "100/s burst 20".parse().unwrap());
        let origins = RedisPerOrigin::per_origin(template);
        let select = |uri: &str| {
            let request = Request::builder().uri(uri).body(()).unwrap();
            origins.select(RequestView::of(&request))
        };
        let known = select("https://a.test/");
        let rate: Rate = "200/s burst 40".parse().unwrap();
        Partition::set_rates(&origins, &[rate]).unwrap();
        assert_eq!(known.rate(), rate);
        assert_eq!(select("https://b.test/").rate(), rate);
        assert_eq!(Partition::rates(&origins), Some(vec![rate]));
        Partition::set_rates(&origins, &[rate, rate]).unwrap_err();
        Partition::set_rates(&origins, &[]).unwrap_err();
        assert_eq!(known.rate(), rate);
    }
}
