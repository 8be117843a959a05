use courteous_core::{CallContext, RequestView, random_bytes};
use uuid::Builder;

use crate::Key;

/// Makes the keys.
///
/// Closures and functions `Fn(RequestView<'_>) -> Key`, or `-> Option<Key>`, are generators.
pub trait Generator {
    /// The key of `request`; `None` if it is to have none.
    fn key(&self, request: RequestView<'_>) -> Option<Key>;
}

impl<F, K> Generator for F
where
    F: Fn(RequestView<'_>) -> K,
    K: Into<Option<Key>>,
{
    fn key(&self, request: RequestView<'_>) -> Option<Key> {
        self(request).into()
    }
}

/// Draws a random UUID (version 4) for each call: the default.
///
/// The bits are drawn from the operating system, for each key anew: a generator in memory is copied
/// by `fork`, and two processes would send one key with two orders.
///
/// If a retry is outside, against the recommended order, the bits are those of the call's id, so
/// that all its attempts have one key. A retry gives none to a request that is idempotent by its
/// method, or that it takes to be keyed already. Such a request gets no key, as each attempt would
/// get another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomUuid;

impl Generator for RandomUuid {
    fn key(&self, request: RequestView<'_>) -> Option<Key> {
        let context = CallContext::of(request.extensions());
        // An id alone says nothing: a server may copy the extensions of what it was asked into two
        // different calls.
        let bytes = match context.attempt() {
            Some(_) => context.call_id()?.to_bits().to_be_bytes(),
            None => random_bytes().ok()?,
        };
        Key::of_uuid(Builder::from_random_bytes(bytes).into_uuid())
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
            let key = RandomUuid.key(RequestView::of(&request)).unwrap();
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
