use courteous_core::{Decision, ObserveOnly};
use tokio::time::Instant;

use crate::{
    events::{self, Subject},
    limit::Limit,
};

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

    /// Begins to observe a call at `now`. If its limit has passed already, that is told, and there is nothing more to
    /// observe: without an observer, no other limit may be enforced either.
    #[inline]
    pub(crate) fn begin(
        self,
        limit: Option<Limit>,
        now: Instant,
        subject: &Subject,
    ) -> (Option<Limit>, Option<Self>) {
        match limit {
            Some(over) if over.deadline() <= now => {
                self.tell(&over, subject);
                (None, None)
            }
            limit => (limit, Some(self)),
        }
    }

    #[cold]
    pub(crate) fn tell(self, limit: &Limit, subject: &Subject) {
        self.switch.record(self.decision);
        events::elapsed(&limit.elapsed(), subject, true);
    }
}
