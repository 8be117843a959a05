use std::hash::{DefaultHasher, Hash, Hasher};

use courteous_core::{CallContext, CallId, CallKeys, NoRandomBytes, RequestView, random_bytes};
use uuid::Builder;

use crate::{Key, recent::Recent};

/// Shared by all, as the generator holds nothing. The ids of calls are unique in the process.
static RECENT: Recent = Recent::new();

/// Makes the keys.
///
/// Closures and functions `Fn(RequestView<'_>) -> Key`, or `-> Option<Key>`, are generators, and so are
/// those that return the result of another generator.
pub trait Generator {
    /// The key of `request`; `None` if it is to have none.
    ///
    /// # Errors
    /// If one was to be drawn, and could not be. The request is not sent then.
    fn key(&self, request: RequestView<'_>) -> Result<Option<Key>, NoRandomBytes>;
}

/// What a closure that is a [`Generator`] returns.
pub trait IntoKey {
    /// What [`Generator::key`] returns for it.
    ///
    /// # Errors
    /// Its own one.
    fn into_key(self) -> Result<Option<Key>, NoRandomBytes>;
}

impl<F, K> Generator for F
where
    F: Fn(RequestView<'_>) -> K,
    K: IntoKey,
{
    fn key(&self, request: RequestView<'_>) -> Result<Option<Key>, NoRandomBytes> {
        self(request).into_key()
    }
}

impl IntoKey for Key {
    fn into_key(self) -> Result<Option<Key>, NoRandomBytes> {
        Ok(Some(self))
    }
}

impl IntoKey for Option<Key> {
    fn into_key(self) -> Result<Self, NoRandomBytes> {
        Ok(self)
    }
}

impl IntoKey for Result<Option<Key>, NoRandomBytes> {
    fn into_key(self) -> Self {
        self
    }
}

/// Draws a random UUID (version 4) for each call: the default.
///
/// Each key's bits are drawn from the operating system. A generator in memory would be copied by
/// `fork`, and two processes would send one key with two orders.
///
/// If a retry is outside, against the recommended order, it has seen a request without a key, and
/// goes by that:
///
/// - It mostly repeats only what no server has acted on. The requests of an attempt have a key each, and
///   the next attempt's have the same ones: they are told apart by method, target, and order. If too many
///   others came between, or a limit has rejected the attempt, they have new keys.
/// - A request that the caller calls idempotent is repeated also where it may have been processed.
///   Then the key follows from the call, the method and the target, and is the same on all attempts.
///   A second request of one attempt with the same method and target cannot be told from the first:
///   it is rejected for [`KeyReused`](courteous_core::RejectReason::KeyReused).
/// - A request that is idempotent by its method, or that the retry takes to be keyed already, gets no
///   key, as each attempt would get another one. Nor does a request inside two retries, the outer one of
///   which repeats what may have been processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomUuid;

impl Generator for RandomUuid {
    fn key(&self, request: RequestView<'_>) -> Result<Option<Key>, NoRandomBytes> {
        let context = CallContext::of(request.extensions());
        // An id alone says nothing: a server may copy the extensions of what it was asked into two
        // different calls.
        let bytes = match (context.attempt(), context.call_id()) {
            (Some(attempt), Some(call)) => match request.extensions().get().map(CallKeys::call) {
                Some(Some(call)) => derived(call, request),
                Some(None) => return Ok(None),
                None => RECENT.bits(call, attempt, request),
            },
            (Some(_), None) => return Ok(None),
            (None, _) => random_bytes()?,
        };
        let uuid = Builder::from_random_bytes(bytes).into_uuid();
        Ok(Key::of_uuid(uuid))
    }
}

/// The bits of the key for `request`, the same in all attempts of `call`.
fn derived(call: CallId, request: RequestView<'_>) -> [u8; 16] {
    let mut hasher = DefaultHasher::new();
    (request.method(), request.uri()).hash(&mut hasher);
    // Far below the bits that say what version of UUID it is.
    (call.to_bits() ^ u128::from(hasher.finish())).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_random_key_is_a_uuid_of_version_4_in_lower_case() {
        let request = Request::new(());
        let (mut ones, mut zeros) = (0, 0);
        for _ in 0..1000 {
            let key = RandomUuid.key(RequestView::of(&request));
            let key = key.unwrap().unwrap();
            let uuid = uuid::Uuid::try_parse(key.as_str()).unwrap();
            assert_eq!(uuid.get_version_num(), 4);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(uuid.hyphenated().to_string(), key.as_str());
            ones |= uuid.as_u128();
            zeros |= !uuid.as_u128();
        }
        // Version and variant take 6 bits; each of the others was both.
        assert_eq!((ones & zeros).count_ones(), 122);
    }
}
