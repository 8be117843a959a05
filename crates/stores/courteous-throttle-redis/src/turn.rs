use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use courteous_core::Rejected;
use courteous_limit::{QueuedTurn, Turn};

use crate::{bucket_state::BucketState, worker::Worker};

/// A place in a [`RedisBucket`](crate::RedisBucket)'s queue, or before it.
#[derive(Debug)]
pub struct RedisTurn {
    turn: QueuedTurn<BucketState>,
    worker: Arc<Worker>,
}

impl RedisTurn {
    pub(crate) const fn new(turn: QueuedTurn<BucketState>, worker: Arc<Worker>) -> Self {
        Self { turn, worker }
    }
}

impl Turn for RedisTurn {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        let polled = Pin::new(&mut self.turn).poll(cx);
        if polled.is_pending() {
            self.worker.ensure_task();
        }
        polled
    }

    fn spend(mut self: Pin<&mut Self>) -> bool {
        Pin::new(&mut self.turn).spend()
    }

    fn pass(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.turn).pass();
    }
}
