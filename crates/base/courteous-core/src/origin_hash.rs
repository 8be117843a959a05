use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    num::NonZeroU32,
    sync::LazyLock,
};

use http::uri::Scheme;

use crate::{Host, Origin, origin::host_and_port};

/// The hash of an [`Origin`], with a random key of this process.
///
/// It is made once for a call, carried in the [`CallContext`](crate::CallContext), and used by each
/// layer that keeps something for each origin. Equal origins have equal hashes, however their hosts
/// are spelled. Two hashes may be equal by chance: equality of the origins decides.
///
/// As the key is random (SipHash, as in the maps of the standard library), an outsider who chooses
/// names cannot choose names with equal hashes. A forked process has the same key, and other
/// processes have other keys: a hash must not leave the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginHash(NonZeroU32);

impl OriginHash {
    /// The hash of `origin`.
    #[must_use]
    pub fn of(origin: &Origin) -> Self {
        Self::of_host(origin.host_and_port())
    }

    /// The hash of the origin of `scheme` and `authority`.
    pub(crate) fn of_parts(scheme: Option<&Scheme>, authority: &str) -> Self {
        Self::of_host(host_and_port(scheme, authority))
    }

    /// Without the scheme: few servers have two at one port.
    fn of_host((host, port): (&str, Option<u16>)) -> Self {
        static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut hasher = STATE.build_hasher();
        hasher.write_u16(port.unwrap_or(0));
        Host::new(host).hash(&mut hasher);
        Self(NonZeroU32::new(hasher.finish() as u32).unwrap_or(NonZeroU32::MIN))
    }

    /// Its 32 bits, which are never all zero.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    pub(crate) const fn from_bits(bits: u32) -> Option<Self> {
        match NonZeroU32::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }
}
