use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use courteous_core::{Origin, Partition, RejectReason, Rejected, RequestView};
use tokio::time::Instant;

use crate::{RedisBucket, local::later};

/// How many keys there may be, if nobody says.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// Below this many keys, none is looked for that can go.
const FEW: usize = 64;
/// What looking at one key is taken to cost; all keys are not looked at more often than that allows.
const LOOK: Duration = Duration::from_micros(1);

/// A shared bucket for each key: for each host, or each credential.
///
/// What this process knows of a key is made when it is first needed, and forgotten once it knows nothing that Redis does
/// not. So memory is bounded by the keys in use and by [`with_max_keys`](Self::with_max_keys). Redis forgets a key about
/// an hour after its last use.
///
/// In Redis, a key is seen only as a hash of it and of the bucket's name: it may be a credential.
///
/// # Sharing
///
/// Its clones have the same buckets.
pub struct RedisKeyed<K, F> {
    keys: Arc<Mutex<Keys<K>>>,
    key_of: F,
    bytes: fn(&K) -> Vec<u8>,
}

/// A shared bucket for each [`Origin`].
pub type RedisPerOrigin = RedisKeyed<Origin, fn(RequestView<'_>) -> Origin>;

struct Keys<K> {
    buckets: HashMap<K, RedisBucket>,
    template: RedisBucket,
    max: usize,
    /// The number of keys at which to look for those that can go.
    look_at: usize,
    looked: Option<Instant>,
}

impl RedisPerOrigin {
    /// Gives every origin a bucket like `template`.
    #[must_use]
    pub fn per_origin(template: RedisBucket) -> Self {
        Self::with_bytes(template, |head| head.origin(), origin_bytes)
    }
}

impl<K: Eq + Hash + AsRef<[u8]>, F: Fn(RequestView<'_>) -> K> RedisKeyed<K, F> {
    /// Gives every key a bucket like `template`, whose tokens themselves are not used. `key_of` says which key a request
    /// has; all workers must say the same.
    ///
    /// The default for the number of keys is 10,000, at about 1 KiB each.
    #[must_use]
    pub fn new(template: RedisBucket, key_of: F) -> Self {
        Self::with_bytes(template, key_of, |key| key.as_ref().to_vec())
    }
}

impl<K, F> RedisKeyed<K, F> {
    fn with_bytes(template: RedisBucket, key_of: F, bytes: fn(&K) -> Vec<u8>) -> Self {
        Self {
            keys: Arc::new(Mutex::new(Keys {
                buckets: HashMap::new(),
                template,
                max: MAX_KEYS.get(),
                look_at: FEW,
                looked: None,
            })),
            key_of,
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Keys<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a request with a new key while `max` keys are in use.
    #[must_use]
    pub fn with_max_keys(self, max: NonZeroUsize) -> Self {
        self.lock().max = max.get();
        self
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

impl<K: Eq + Hash> Keys<K> {
    fn bucket(&mut self, key: K, bytes: fn(&K) -> Vec<u8>) -> Result<RedisBucket, Rejected> {
        if let Some(bucket) = self.buckets.get(&key) {
            return Ok(bucket.clone());
        }
        let now = Instant::now();
        if self.buckets.len() >= self.look_at.min(self.max) {
            self.forget_spare(now);
        }
        if self.buckets.len() >= self.max {
            return Err(Rejected::new(RejectReason::TooManyKeys));
        }
        let bucket = self.template.part(&bytes(&key), now);
        self.buckets.insert(key, bucket.clone());
        Ok(bucket)
    }

    /// Forgets the buckets that are as good as new ones: all at once, whenever the number of keys has doubled, and when
    /// there are too many, as often as that costs little.
    fn forget_spare(&mut self, now: Instant) {
        let pause = LOOK.saturating_mul(u32::try_from(self.buckets.len()).unwrap_or(u32::MAX));
        let again = self.looked.map(|looked| later(looked, pause));
        if self.buckets.len() < self.look_at && again.is_some_and(|again| now < again) {
            return;
        }
        self.looked = Some(now);
        self.buckets.retain(|_, bucket| !bucket.is_spare(now));
        self.look_at = self.buckets.len().saturating_mul(2).max(FEW);
        self.buckets.shrink_to(self.look_at);
    }
}

impl<K, F> Partition for RedisKeyed<K, F>
where
    K: Eq + Hash,
    F: Fn(RequestView<'_>) -> K,
{
    type Store = RedisBucket;

    fn select(&self, head: RequestView<'_>) -> Result<RedisBucket, Rejected> {
        let key = (self.key_of)(head);
        self.lock().bucket(key, self.bytes)
    }
}

/// The same for equal origins.
fn origin_bytes(origin: &Origin) -> Vec<u8> {
    let scheme = origin.scheme().map(http::uri::Scheme::as_str);
    let authority = origin.authority();
    let port = authority
        .and_then(http::uri::Authority::port_u16)
        .or(match scheme {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        });
    let host = authority.map(|authority| authority.host().to_ascii_lowercase());
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
        // Not the keys: they may be credentials.
        let keys = self.lock();
        f.debug_struct("RedisKeyed")
            .field("len", &keys.buckets.len())
            .field("max", &keys.max)
            .field("template", &keys.template)
            .finish_non_exhaustive()
    }
}
