//! Counts attempts and writes them into the call's history, and into the call's record, which a layer
//! outside reads.
//!
//! If a retry further in made three attempts of the attempt under way, they stand for it: after one
//! failed attempt, the call has made 1 + 3 = 4 attempts.

use courteous_body::Keep;
use courteous_budget::Receipt;
use courteous_core::{Attempt, CallRecord, RetryInfo, Verdict, WaitedFor};
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
        if let Some(record) = self.record() {
            record.fail_attempt(attempt);
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
        if let Some(record) = self.record() {
            record.add_attempts(inner, before);
        }
    }
}

/// A wait for the next attempt, in the call's record. It ends there with the drop.
pub(super) struct Backoff(CallRecord);

impl Backoff {
    pub(super) fn begin(record: &CallRecord) -> Self {
        record.begin_wait(WaitedFor::Backoff);
        Self(record.clone())
    }
}

impl Drop for Backoff {
    fn drop(&mut self) {
        self.0.end_wait(WaitedFor::Backoff);
    }
}
