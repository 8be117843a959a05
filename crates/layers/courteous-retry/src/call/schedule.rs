//! Sets the instant of the next attempt, and waits for it.
//!
//! The wait counts from the judgement of the failed attempt, not from the end of the drain. Judged
//! at 20 ms with a backoff of 100 ms, the next attempt is at 120 ms. The body of the failed attempt
//! may be drained until 70 ms. If the deadline is within those 50 ms, the drain ends with the wait
//! at the latest, so that it takes no time from the next attempt.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use courteous_body::Keep;
use courteous_budget::Payment;
use courteous_core::NoRuntime;
use tokio::time::Instant;

use super::{Call, Next, record::Backoff};
use crate::policy::Wait;

/// How long the rest of a discarded body may take to arrive.
const DRAIN_TIME: Duration = Duration::from_millis(50);

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// Adds `wait`, which begins at `now`, to the call's waits, and returns the attempt that
    /// follows it.
    pub(super) fn schedule(
        &mut self,
        now: Instant,
        wait: Wait,
        body: B,
        payment: Option<Payment>,
    ) -> Next<B> {
        let length = wait.until.saturating_duration_since(now);
        let progress = &mut self.so_far().progress;
        progress.waited = progress.waited.saturating_add(length);
        progress.growth = wait.growth;
        progress.last_backoff = wait.backoff;
        Next {
            body,
            until: wait.until,
            payment,
            backoff: self.record().map(Backoff::begin),
        }
    }

    /// When the next attempt starts, if another attempt is planned.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let next = self.later.as_ref()?.so_far.next.as_ref();
        next.map(|next| next.until)
    }

    /// The wait for the next attempt is over: it is made as soon as the service is ready.
    pub(crate) fn end_wait(&mut self) {
        if self.record().is_some()
            && let Some(next) = &mut self.so_far().next
        {
            next.backoff = None;
        }
    }

    /// Waits until `until`. Fails if there is no runtime to wait on.
    pub(crate) fn wait(
        &mut self,
        until: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NoRuntime>> {
        let mut timer = self.later().project().timer;
        if timer.as_ref().as_pin_ref().map(|timer| timer.deadline()) != Some(until) {
            if until <= Instant::now() {
                return Poll::Ready(Ok(()));
            }
            match timer.as_mut().as_pin_mut() {
                Some(timer) => timer.reset(until),
                None => timer.set(Some(courteous_core::timer(until)?)),
            }
        }
        timer
            .as_pin_mut()
            .map_or(Poll::Ready(()), |timer| timer.poll(cx))
            .map(Ok)
    }

    /// Until when a body that was discarded at `now` may be drained. Close to the deadline, this is
    /// no later than the next attempt.
    pub(super) fn drain_until(&self, now: Instant) -> Instant {
        let limit = now + DRAIN_TIME;
        match (self.deadline(), self.next_at()) {
            (Some(deadline), Some(next)) if limit >= deadline => limit.min(next),
            _ => limit,
        }
    }
}
