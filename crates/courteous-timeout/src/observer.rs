use courteous_core::{Decision, ObserveOnly};
use tokio::time::Instant;

use crate::limit::Limit;

/// Tells that a limit has struck, once, in place of the error: the call goes on.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    switch: ObserveOnly,
    decision: Decision,
}

impl Observer {
    /// Of a layer that makes `decision`, if it only observes.
    #[inline]
    pub(crate) fn of(switch: Option<&ObserveOnly>, decision: Decision) -> Option<Self> {
        let switch = ObserveOnly::active(switch)?.clone();
        Some(Self { switch, decision })
    }

    /// What there is to observe of a call that begins `now`. Nothing more if its limit has passed.
    pub(crate) fn begin(self, limit: Option<Limit>, now: Instant) -> (Option<Limit>, Option<Self>) {
        match limit {
            Some(over) if over.deadline() <= now => {
                self.tell(&over);
                (None, None)
            }
            limit => (limit, Some(self)),
        }
    }

    #[cold]
    pub(crate) fn tell(self, limit: &Limit) {
        self.switch.record(self.decision);
        #[cfg(feature = "tracing")]
        {
            let elapsed = limit.elapsed();
            tracing::debug!(
                target: "courteous::timeout",
                observed = true,
                limit = ?elapsed.limit(),
                scope = ?elapsed.scope(),
                "the call would have been ended"
            );
        }
        #[cfg(not(feature = "tracing"))]
        let _ = limit;
    }
}
