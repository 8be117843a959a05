use std::{fmt, hash::Hash, num::NonZeroUsize, sync::Arc};

use courteous_core::{CallContext, RequestView};
use http::Request;

use crate::{
    keyed::Limiters,
    limiter::{Admission, Limiter},
    settings::Settings,
    snapshot::LimitSnapshot,
};

/// The limiters of a layer: one for all calls, or one for each key.
pub(crate) enum Scope<K> {
    One(Limiter),
    // In one `Arc`, as it is cloned for each call.
    Keyed(Arc<Keyed<K>>),
}

pub(crate) struct Keyed<K> {
    limiters: Limiters<K>,
    key: Box<dyn Fn(RequestView<'_>) -> K + Send + Sync>,
}

impl<K> Scope<K> {
    pub(crate) fn keyed<F>(limiters: Limiters<K>, key: F) -> Self
    where
        F: Fn(RequestView<'_>) -> K + Send + Sync + 'static,
    {
        let key = Box::new(key);
        Self::Keyed(Arc::new(Keyed { limiters, key }))
    }
}

impl<K: Hash + Eq> Scope<K> {
    #[inline]
    pub(crate) fn admit<B>(
        &self,
        request: &Request<B>,
        context: Option<&CallContext>,
        settings: &Settings,
    ) -> Admission {
        match self {
            Self::One(limiter) => limiter.admit(context, settings),
            Self::Keyed(keyed) => {
                let key = (keyed.key)(RequestView::of(request));
                (keyed.limiters).admit(key, context, settings)
            }
        }
    }

    #[cfg(feature = "load")]
    pub(crate) fn load(&self) -> usize {
        match self {
            Self::One(limiter) => limiter.load(),
            Self::Keyed(keyed) => keyed.limiters.load(),
        }
    }
}

impl<K> Keyed<K> {
    pub(crate) const fn limiters(&self) -> &Limiters<K> {
        &self.limiters
    }
}

impl<K> Scope<K> {
    /// How many calls may be in flight at a time, in all or for one key.
    pub(crate) fn limit(&self) -> NonZeroUsize {
        match self {
            Self::One(limiter) => limiter.limit(),
            Self::Keyed(keyed) => keyed.limiters.limit(),
        }
    }

    pub(crate) fn snapshot(&self) -> LimitSnapshot {
        match self {
            Self::One(limiter) => limiter.snapshot(),
            Self::Keyed(keyed) => keyed.limiters.snapshot(),
        }
    }
}

impl<K> Clone for Scope<K> {
    fn clone(&self) -> Self {
        match self {
            Self::One(limiter) => Self::One(limiter.clone()),
            Self::Keyed(keyed) => Self::Keyed(Arc::clone(keyed)),
        }
    }
}

impl<K> fmt::Debug for Scope<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(limiter) => limiter.fmt(f),
            Self::Keyed(keyed) => keyed.limiters.fmt(f),
        }
    }
}
