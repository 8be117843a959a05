use std::hash::Hash;

use courteous_core::{Origin, OriginKey, RequestView};

use crate::KeyedMap;

/// How a keyed limit chooses the key of a request.
///
/// Each function from the head of a request to a key is one. [`ByOrigin`] and [`ByWireOrigin`] are
/// two that need no key to look one up.
pub trait KeyOf<K> {
    /// What is looked up: the key, or something that is borrowed from the request.
    type Sought<'a>: Sought<K>;

    /// What to look up for the request with this `head`. A function of the user's runs here, so no
    /// lock may be held.
    fn seek<'a>(&self, head: RequestView<'a>) -> Self::Sought<'a>;
}

/// A key that is looked up in a [`KeyedMap`], and is made only if it is not known there.
pub trait Sought<K> {
    /// The value of the key in `map`, if it is known.
    fn find<'m, V>(&self, map: &'m mut KeyedMap<K, V>) -> Option<&'m V>;

    /// The key, to be kept.
    fn into_key(self) -> K;
}

impl<K: Eq + Hash, F: Fn(RequestView<'_>) -> K> KeyOf<K> for F {
    type Sought<'a> = K;

    #[inline]
    fn seek(&self, head: RequestView<'_>) -> K {
        self(head)
    }
}

impl<K: Eq + Hash> Sought<K> for K {
    #[inline]
    fn find<'m, V>(&self, map: &'m mut KeyedMap<K, V>) -> Option<&'m V> {
        map.get(self)
    }

    #[inline]
    fn into_key(self) -> K {
        self
    }
}

/// Chooses the [origin](RequestView::origin) that the caller wrote.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByOrigin;

impl KeyOf<Origin> for ByOrigin {
    type Sought<'a> = OriginKey<'a>;

    #[inline]
    fn seek<'a>(&self, head: RequestView<'a>) -> OriginKey<'a> {
        head.origin_key()
    }
}

/// Chooses the [wire origin](RequestView::wire_origin): where the request goes to.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByWireOrigin;

impl KeyOf<Origin> for ByWireOrigin {
    type Sought<'a> = OriginKey<'a>;

    #[inline]
    fn seek<'a>(&self, head: RequestView<'a>) -> OriginKey<'a> {
        head.wire_origin_key()
    }
}

impl Sought<Origin> for OriginKey<'_> {
    #[inline]
    fn find<'m, V>(&self, map: &'m mut KeyedMap<Origin, V>) -> Option<&'m V> {
        map.get_origin(self)
    }

    fn into_key(self) -> Origin {
        self.to_origin()
    }
}
