use std::{num::NonZeroU32, time::Duration};

use courteous_core::{Ask, CallContext, RejectReason, RequestView};
use http::Request;
use tokio::time::Instant;

use crate::{Cost, levels::later};

/// What a layer's users can set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) max_wait: Option<Duration>,
    pub(crate) max_waiting: usize,
    pub(crate) cost: Option<fn(RequestView<'_>) -> NonZeroU32>,
    /// How long a server can close a bucket; `None` if it is not listened to.
    pub(crate) max_pause: Option<Duration>,
}

impl Config {
    pub(crate) const DEFAULT: Self = Self {
        max_wait: None,
        max_waiting: usize::MAX,
        cost: None,
        max_pause: Some(Duration::from_secs(5 * 60)),
    };

    /// What to ask a store for `request`.
    #[inline]
    pub(crate) fn ask<B>(&self, request: &Request<B>) -> Ask {
        let cost = match (request.extensions().get::<Cost>(), self.cost) {
            (Some(cost), _) => cost.0,
            (None, Some(cost)) => cost(RequestView::of(request)),
            (None, None) => NonZeroU32::MIN,
        };
        let context = CallContext::of(request.extensions());
        let mut ask = Ask::new(cost)
            .with_max_waiting(self.max_waiting)
            .with_retried(context.attempt().is_some());
        if let Some(deadline) = context.deadline() {
            ask = ask.with_latest(deadline, RejectReason::Deadline);
        }
        if let Some(wait) = self.max_wait {
            ask = ask.with_latest(later(Instant::now(), wait), RejectReason::MaxWait);
        }
        ask
    }
}
