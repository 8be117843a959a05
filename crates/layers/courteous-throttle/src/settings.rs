use std::{num::NonZeroU32, time::Duration};

use courteous_core::{CallContext, RejectReason, RequestView};
use courteous_limit::{Ask, Target, later};
use http::StatusCode;
use tokio::time::Instant;

use crate::{Cost, Rate, ThrottleSettings, pause::Pause};

/// What a layer's users can set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) max_wait: Option<Duration>,
    pub(crate) max_waiting: usize,
    pub(crate) cost: Option<fn(RequestView<'_>) -> NonZeroU32>,
    /// Whether the layer listens to what a server says.
    pub(crate) listens: bool,
    pub(crate) hints: HintSettings,
}

/// How a layer reacts to what a server says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HintSettings {
    /// How long a refusal can close a bucket.
    pub(crate) max_pause: Pause,
    /// How long a used-up quota can close a bucket, if the response that told of it is no refusal.
    pub(crate) max_quota_pause: Pause,
    pub(crate) pacing: Pacing,
    /// The statuses by which a server can refuse. `None` stands for all.
    pub(crate) heeds: Option<fn(StatusCode) -> bool>,
}

/// Whether a server's quota is spread over the time until its reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pacing {
    /// Only if a rate was set.
    WithRate,
    Always,
    Never,
}

impl HintSettings {
    pub(crate) const DEFAULT: Self = Self {
        max_pause: Pause::new(Duration::from_secs(24 * 60 * 60)),
        max_quota_pause: Pause::new(Duration::from_secs(5 * 60)),
        pacing: Pacing::WithRate,
        heeds: None,
    };
}

impl Settings {
    pub(crate) const DEFAULT: Self = Self {
        max_wait: None,
        max_waiting: usize::MAX,
        cost: None,
        listens: true,
        hints: HintSettings::DEFAULT,
    };

    /// The part of these settings that a file can state, together with the `rates`.
    pub(crate) fn plain(&self, rates: Option<Vec<Rate>>) -> ThrottleSettings {
        ThrottleSettings {
            rates,
            max_wait: self.max_wait,
            max_waiting: Some(self.max_waiting).filter(|&max| max < usize::MAX),
            max_pause: Some(self.hints.max_pause.get()),
            max_quota_pause: Some(self.hints.max_quota_pause.get()),
        }
    }

    /// What the request with this `head` is for, if that matters.
    #[inline]
    pub(crate) fn target(&self, head: RequestView<'_>) -> Option<Target> {
        self.listens.then(|| Target::of(head))
    }

    /// What to ask a store for the request with this `head`, which is part of the call with this
    /// `context`, and whose cost the caller may have `given`.
    #[inline]
    pub(crate) fn ask(
        &self,
        head: RequestView<'_>,
        context: Option<&CallContext>,
        target: Option<Target>,
        given: Option<&Cost>,
    ) -> Ask {
        let cost = match self.cost {
            Some(cost) if !given.is_some_and(Cost::is_for_all) => cost(head),
            _ => NonZeroU32::MIN,
        };
        let mut ask = Ask::new(cost)
            .with_max_waiting(self.max_waiting)
            .with_retried(context.is_some_and(|context| context.attempt().is_some()));
        if let Some(target) = target {
            ask = ask.with_target(target);
        }
        if let Some(deadline) = context.and_then(CallContext::deadline) {
            ask = ask.with_latest(deadline, RejectReason::Deadline);
        }
        if let Some(wait) = self.max_wait {
            ask = ask.with_latest(later(Instant::now(), wait), RejectReason::MaxWait);
        }
        ask
    }
}
