//! The effects of a call to Redis on the bucket.

use courteous_limit::{Wakes, later};
use tokio::time::Instant;

use super::BucketState;
use crate::{
    call_failure::CallFailure,
    script::{Call, Reply},
    transitions::Transitions,
};

impl BucketState {
    /// Begins a call to Redis as `worker`, if there is still a reason to.
    pub(crate) fn begin_call(&mut self, worker: u64, now: Instant) -> Option<Call> {
        self.settle(now);
        let (calls, needs) = self.calls_and_needs();
        calls.begin(worker, needs, now)
    }

    /// Handles Redis' answer to a `call` that was about to be sent at `before`.
    pub(crate) fn answered(
        &mut self,
        call: &Call,
        reply: &Reply,
        before: Instant,
        received: Instant,
        wakes: &mut Wakes,
    ) -> Transitions {
        let mut transitions = self.calls.hear(call, reply, before, received);
        if transitions.stepped {
            return transitions;
        }
        // Counted from before the call, the opening cannot be later than the real one. If even this
        // is later than the known opening, the bucket was closed for longer.
        let known = self.tokens.closed_until();
        if known.is_none_or(|until| until < later(before, reply.closed_for)) {
            self.shut(later(received, reply.closed_for), received, wakes);
        }
        let usable = self.tokens.lease(reply, call.need, before, received);
        let late = usable < reply.granted;
        self.calls.conclude(call, late, received, &mut transitions);
        self.waiters.looks.by(Some(received));
        transitions
    }

    /// Handles a call that Redis did not answer.
    pub(crate) fn failed(&mut self, fault: &CallFailure, now: Instant) -> Transitions {
        let transitions = self.calls.failed(fault, now);
        self.waiters.looks.by(Some(now));
        transitions
    }
}
