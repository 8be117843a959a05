//! Counts attempts and writes them into the call's history, and into the trail that a layer outside
//! reads.
//!
//! If a retry further in made three attempts of the attempt under way, they stand for it: after one
//! failed attempt, the call has made 1 + 3 = 4 attempts.

use courteous_body::Keep;
use courteous_budget::Receipt;
use courteous_core::{Attempt, RetryInfo, Verdict};
use http::StatusCode;
use tokio::time::Instant;

use super::Call;

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// Records that the attempt under way has failed at `now`. What it paid is spent.
    pub(super) fn remember(&mut self, now: Instant, verdict: Verdict, status: Option<StatusCode>) {
        let so_far = self.so_far();
        let attempt = Attempt::new(so_far.progress.attempts, now, verdict, status);
        so_far.receipt = None;
        so_far.history.push(attempt);
        if let Some(trail) = &self.trail {
            trail.fail(attempt);
        }
    }

    /// Replaces the attempt under way by the attempts and waits of an inner retry. If that has sent
    /// nothing, what the attempt paid is given back.
    pub(super) fn add(&mut self, inner: &RetryInfo) {
        let so_far = self.so_far();
        let receipt = so_far.receipt.take();
        if inner.attempts() == 0 {
            drop(receipt.map(Receipt::unsent));
        }
        let before = so_far.progress.attempts.saturating_sub(1);
        let progress = &mut so_far.progress;
        progress.attempts = before.saturating_add(inner.attempts());
        progress.waited = progress.waited.saturating_add(inner.waited());
        so_far.history.append(inner.history(), before);
        let attempts = progress.attempts;
        if let Some(trail) = &self.trail {
            trail.add(attempts, inner, before);
        }
    }
}
