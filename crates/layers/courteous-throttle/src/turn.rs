use std::{
    pin::Pin,
    task::{Context, Poll},
};

use courteous_core::Rejected;
use courteous_limit::{QueuedTurn, Turn};

use crate::fast_path::{FastPath, Kept};

/// A place in a [`Bucket`](crate::Bucket)'s queue, or before it.
#[derive(Debug)]
pub struct BucketTurn(QueuedTurn<Kept, FastPath>);

impl BucketTurn {
    pub(crate) const fn new(turn: QueuedTurn<Kept, FastPath>) -> Self {
        Self(turn)
    }
}

impl Turn for BucketTurn {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        Pin::new(&mut self.0).poll(cx)
    }

    fn spend(mut self: Pin<&mut Self>) -> bool {
        Pin::new(&mut self.0).spend()
    }

    fn pass(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.0).pass();
    }
}
