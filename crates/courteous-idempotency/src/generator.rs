use courteous_core::{CallContext, NoRandomBytes, RequestView, random_bytes};
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
/// If a retry is outside, against the recommended order, the bits follow from the call's id, so that
/// all attempts of an operation have one key. Where an attempt makes several requests, each has its
/// own: they are told apart by method, target, and order. A retry gives no id to a request that is
/// idempotent by its method, or that it takes to be keyed already. Such a request gets no key, as
/// each attempt would get another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomUuid;

impl Generator for RandomUuid {
    fn key(&self, request: RequestView<'_>) -> Result<Option<Key>, NoRandomBytes> {
        let context = CallContext::of(request.extensions());
        // An id alone says nothing: a server may copy the extensions of what it was asked into two
        // different calls.
        let bytes = match (context.attempt(), context.call_id()) {
            (Some(attempt), Some(call)) => RECENT.bits(call, attempt, request),
            (Some(_), None) => return Ok(None),
            (None, _) => random_bytes()?,
        };
        let uuid = Builder::from_random_bytes(bytes).into_uuid();
        Ok(Key::of_uuid(uuid))
    }
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
