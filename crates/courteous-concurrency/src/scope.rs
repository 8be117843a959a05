use std::{fmt, hash::Hash, num::NonZeroUsize, sync::Arc};

use courteous_core::RequestView;
use http::Request;

use crate::{
    limiter::{Admission, Limiter},
    limiters::Limiters,
    options::Options,
};

/// The limiters of a layer: one for all calls, or one for each key.
pub(crate) enum Scope<K> {
    One(Limiter),
    Keyed {
        limiters: Limiters<K>,
        key: Arc<dyn Fn(RequestView<'_>) -> K + Send + Sync>,
    },
}

impl<K: Hash + Eq> Scope<K> {
    #[inline]
    pub(crate) fn admit<B>(&self, request: &Request<B>, options: &Options) -> Admission {
        match self {
            Self::One(limiter) => limiter.admit(request.extensions(), options),
            Self::Keyed { limiters, key } => {
                let key = key(RequestView::of(request));
                limiters.admit(key, request.extensions(), options)
            }
        }
    }

    /// How many calls may be in flight at a time, in all or for one key.
    pub(crate) fn limit(&self) -> NonZeroUsize {
        match self {
            Self::One(limiter) => limiter.limit(),
            Self::Keyed { limiters, .. } => limiters.limit(),
        }
    }

    #[cfg(feature = "load")]
    pub(crate) fn load(&self) -> usize {
        match self {
            Self::One(limiter) => limiter.load(),
            Self::Keyed { limiters, .. } => limiters.load(),
        }
    }
}

impl<K> Clone for Scope<K> {
    fn clone(&self) -> Self {
        match self {
            Self::One(limiter) => Self::One(limiter.clone()),
            Self::Keyed { limiters, key } => Self::Keyed {
                limiters: limiters.clone(),
                key: Arc::clone(key),
            },
        }
    }
}

impl<K> fmt::Debug for Scope<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(limiter) => limiter.fmt(f),
            Self::Keyed { limiters, .. } => limiters.fmt(f),
        }
    }
}
