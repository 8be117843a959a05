use http::{
    Extensions, HeaderValue,
    uri::{Authority, Scheme},
};

use crate::{CallContext, LogicalOrigin, Origin, OriginHash, OriginHashes, origin_hashes::Which};

/// One of a request's origins, to look something up by: borrowed from the request, with the hash
/// that the call carries.
///
/// To look up what is known allocates nothing, and no [`Origin`] is made. Two rules keep a look-up
/// right whatever the layers between have done to the request:
///
/// - a hash only says where to look. What is found there must be [of this origin](Self::is), which
///   is compared with the request as it is now;
/// - if nothing is found by a carried hash, it may be the hash of another origin, as the URI was
///   changed meanwhile. Then it is [made again](Self::rehash), and if it differs, looked up again.
///
/// So a hash that is out of date costs time, and never the state of another origin.
#[derive(Clone, Copy, Debug)]
pub struct OriginKey<'a> {
    scheme: Option<&'a Scheme>,
    spelled: Spelled<'a>,
    which: Which,
    hashes: Option<&'a OriginHashes>,
    extensions: &'a Extensions,
}

/// The authority of an origin, as the request spells it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spelled<'a> {
    Nowhere,
    Target(&'a Authority),
    /// It may not be an authority at all.
    HostField(&'a HeaderValue),
}

impl<'a> OriginKey<'a> {
    pub(crate) const fn new(
        scheme: Option<&'a Scheme>,
        spelled: Spelled<'a>,
        which: Which,
        hashes: Option<&'a OriginHashes>,
        extensions: &'a Extensions,
    ) -> Self {
        Self {
            scheme,
            spelled,
            which,
            hashes,
            extensions,
        }
    }

    /// The hash that the call carries, or that was made in this layer. `None` if it would have to
    /// be made.
    #[must_use]
    #[inline]
    pub fn known_hash(&self) -> Option<OriginHash> {
        if let Some(hashes) = self.hashes {
            return hashes.get(self.which);
        }
        let context = self.extensions.get::<CallContext>()?;
        match self.which {
            Which::Logical => context.origin_hash(),
            Which::Wire => context.wire_origin_hash(),
        }
    }

    /// The hash of the origin: the [known](Self::known_hash) one, or made now. A known one may be
    /// out of date.
    #[must_use]
    #[inline]
    pub fn hash(&self) -> OriginHash {
        self.known_hash().unwrap_or_else(|| self.rehash())
    }

    /// Makes the hash, in place of the one that is known.
    #[must_use]
    pub fn rehash(&self) -> OriginHash {
        let hash = OriginHash::of_parts(self.scheme, self.text());
        if let Some(hashes) = self.hashes {
            hashes.set(self.which, hash);
            // Nearly always, both origins are the same.
            if self.extensions.get::<LogicalOrigin>().is_none() {
                hashes.set(self.which.other(), hash);
            }
        }
        hash
    }

    /// Whether this is `origin`, and spelled like it. A look at a few bytes.
    #[must_use]
    #[inline]
    pub fn is_spelled_like(&self, origin: &Origin) -> bool {
        origin.is_spelled(self.scheme, self.text())
    }

    /// Whether this is `origin`.
    ///
    /// A `Host` field that is spelled otherwise than `origin` is not taken for it: whether it is an
    /// authority at all is told by [`to_origin`](Self::to_origin).
    #[must_use]
    #[inline]
    pub fn is(&self, origin: &Origin) -> bool {
        match self.spelled {
            Spelled::HostField(_) => self.is_spelled_like(origin),
            _ => origin.is(self.scheme, self.text()),
        }
    }

    /// The origin, to be kept. Allocates for a `Host` field.
    #[must_use]
    pub fn to_origin(&self) -> Origin {
        let authority = match self.spelled {
            Spelled::Nowhere => None,
            Spelled::Target(authority) => Some(authority.clone()),
            Spelled::HostField(host) => host.as_bytes().try_into().ok(),
        };
        Origin::from_parts(self.scheme.cloned(), authority)
    }

    /// The scheme, if the target is absolute.
    #[must_use]
    pub const fn scheme(&self) -> Option<&'a Scheme> {
        self.scheme
    }

    /// The authority as the request spells it: the target's, or the `Host` field. Empty if there is
    /// neither.
    #[must_use]
    #[inline]
    pub fn authority_as_spelled(&self) -> &'a [u8] {
        match self.spelled {
            Spelled::Nowhere => &[],
            Spelled::Target(authority) => authority.as_str().as_bytes(),
            Spelled::HostField(host) => host.as_bytes(),
        }
    }

    #[inline]
    fn text(&self) -> &'a str {
        match self.spelled {
            Spelled::Nowhere => "",
            Spelled::Target(authority) => authority.as_str(),
            Spelled::HostField(host) => host.to_str().unwrap_or_default(),
        }
    }
}
