use courteous_budget::Receipt;
use courteous_core::{Attempt, RetryInfo, Verdict};
use courteous_replay::Keep;
use http::StatusCode;
use tokio::time::Instant;

use super::Call;

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// Writes down that an attempt has failed. What it paid is spent.
    pub(super) fn remember(&mut self, now: Instant, verdict: Verdict, status: Option<StatusCode>) {
        let so_far = self.so_far();
        let attempt = Attempt::new(so_far.progress.attempts, now, verdict, status);
        so_far.receipt = None;
        so_far.history.push(attempt);
        if let Some(trail) = &self.trail {
            trail.fail(attempt);
        }
    }

    /// Adds what a retry further in has made of the attempt: its own attempts stand for this one.
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
