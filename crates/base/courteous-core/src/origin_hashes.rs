use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::Extensions;

use crate::{CallContext, OriginHash};

/// The hashes of a request's origins while the request is in one layer.
///
/// A layer that looks something up by the origin takes them from the call's context, has the
/// look-up use them by [`RequestView::with_hashes`](crate::RequestView::with_hashes), and then puts
/// what was made meanwhile back into the context, for the layers inside:
///
/// ```
/// use courteous_core::{CallContext, OriginHash, OriginHashes, RequestView};
/// use http::Request;
/// use tokio::time::Instant;
///
/// let mut request = Request::get("https://api.example/a").body(())?;
/// CallContext::edit(request.extensions_mut()).tighten(Instant::now());
///
/// let context = request.extensions().get::<CallContext>();
/// let hashes = OriginHashes::of(context);
/// let head = RequestView::of(&request).with_hashes(&hashes);
/// let hash = head.origin_key().hash(); // made here
/// hashes.carry(request.extensions_mut());
///
/// assert_eq!(CallContext::of(request.extensions()).origin_hash(), Some(hash));
/// assert_eq!(hash, OriginHash::of(&RequestView::of(&request).origin()));
/// # Ok::<_, http::Error>(())
/// ```
///
/// A request without a context gets none for this: an extension costs more than the hash.
#[derive(Debug, Default)]
pub struct OriginHashes {
    // Zero if not known. Atomic, so that a view of a request can be sent to other threads.
    logical: AtomicU32,
    wire: AtomicU32,
    /// Those that the context carries.
    carried: [u32; 2],
}

/// Which of a request's two origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// What the caller wrote.
    Logical,
    /// Where the request goes to.
    Wire,
}

impl Which {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Logical => Self::Wire,
            Self::Wire => Self::Logical,
        }
    }
}

impl OriginHashes {
    /// The hashes that `context` carries, if it carries any.
    #[must_use]
    #[inline]
    pub fn of(context: Option<&CallContext>) -> Self {
        let Some(context) = context else {
            return Self::default();
        };
        let bits = |hash: Option<OriginHash>| hash.map_or(0, OriginHash::get);
        let (logical, wire) = (
            bits(context.origin_hash()),
            bits(context.wire_origin_hash()),
        );
        Self {
            logical: AtomicU32::new(logical),
            wire: AtomicU32::new(wire),
            carried: [logical, wire],
        }
    }

    /// Has the context in `extensions` carry these hashes, if there is a context.
    #[inline]
    pub fn carry(&self, extensions: &mut Extensions) {
        let hashes = [self.logical.load(Relaxed), self.wire.load(Relaxed)];
        if hashes != self.carried
            && let Some(context) = extensions.get_mut::<CallContext>()
        {
            let [logical, wire] = hashes.map(OriginHash::from_bits);
            context.set_origin_hashes(logical, wire);
        }
    }

    #[inline]
    pub(crate) fn get(&self, which: Which) -> Option<OriginHash> {
        OriginHash::from_bits(self.slot(which).load(Relaxed))
    }

    #[inline]
    pub(crate) fn set(&self, which: Which, hash: OriginHash) {
        self.slot(which).store(hash.get(), Relaxed);
    }

    const fn slot(&self, which: Which) -> &AtomicU32 {
        match which {
            Which::Logical => &self.logical,
            Which::Wire => &self.wire,
        }
    }
}
