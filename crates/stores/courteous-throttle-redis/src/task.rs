use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
};

use courteous_limit::Shared;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::{
    bucket_state::BucketState,
    call_failure::CallFailure,
    connection::Connection,
    keys::Keys,
    pending_calls::PendingCalls,
    script::{Call, Reply},
};

/// The background task. It makes all calls of a worker, one at a time for each bucket.
pub(crate) async fn run(
    pending: Arc<PendingCalls<Shared<BucketState>>>,
    connection: Arc<Connection>,
) {
    let mut calls = FuturesUnordered::new();
    loop {
        let buckets = pending.take();
        calls.extend(
            buckets
                .into_iter()
                .map(|bucket| serve(bucket, Arc::clone(&connection))),
        );
        let mut filled = pin!(pending.filled.notified());
        poll_fn(|cx| {
            while let Poll::Ready(Some(())) = calls.poll_next_unpin(cx) {}
            filled.as_mut().poll(cx)
        })
        .await;
    }
}

async fn serve(bucket: Weak<Shared<BucketState>>, connection: Arc<Connection>) {
    loop {
        let worker = connection.worker();
        let named = worker.as_ref().copied().unwrap_or_default();
        let Some(call) = Ongoing::begin(&bucket, named) else {
            return;
        };
        let outcome = match worker {
            Ok(_) => connection.call(&call.keys, &call.call).await,
            Err(fault) => Err(fault),
        };
        match call.end(outcome) {
            // Redis still has to be told something, and perhaps no waiter is left to start another
            // call.
            Some(retry_at) => sleep_until(retry_at).await,
            None => return,
        }
    }
}

/// A call that fails if it is dropped.
struct Ongoing {
    /// `None` once it has ended.
    bucket: Option<Arc<Shared<BucketState>>>,
    keys: Arc<Keys>,
    call: Call,
}

impl Ongoing {
    fn begin(bucket: &Weak<Shared<BucketState>>, worker: u64) -> Option<Self> {
        let bucket = bucket.upgrade()?;
        let (keys, call) = bucket.update(|bucket, now, _| {
            let call = bucket.begin_call(worker, now)?;
            Some((Arc::clone(&bucket.keys), call))
        })?;
        Some(Self {
            bucket: Some(bucket),
            keys,
            call,
        })
    }

    /// Ends the call. Returns when to try again, if Redis must be told something even if no call
    /// waits.
    fn end(mut self, outcome: Result<(Reply, Instant), CallFailure>) -> Option<Instant> {
        let bucket = self.bucket.take()?;
        match outcome {
            Ok((reply, before)) => {
                let transitions = bucket.update(|bucket, now, wakes| {
                    bucket.answered(&self.call, &reply, before, now, wakes)
                });
                transitions.report(&self.keys, None);
                None
            }
            Err(fault) => {
                let (transitions, urgent) = bucket.update(|bucket, now, _| {
                    (bucket.failed(&fault, now), bucket.calls.is_urgent())
                });
                transitions.report(&self.keys, Some(&fault.text));
                urgent.then_some(fault.retry_at)
            }
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if let Some(bucket) = self.bucket.take() {
            bucket.update(|bucket, now, _| {
                let fault = CallFailure {
                    text: "its runtime was shut down".into(),
                    retry_at: now,
                };
                bucket.failed(&fault, now);
            });
        }
    }
}
