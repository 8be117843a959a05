use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tokio::{sync::Notify, time::Instant};
use tower::Service;

/// The innermost service: it records which waiter got through, and when.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    log: Arc<Log>,
    answers: Answers,
}

/// When a [`Recorder`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    AtOnce,
    /// After one turn of the scheduler.
    NextTurn,
    Never,
}

/// The waiters that got through, in order.
#[derive(Debug)]
pub(super) struct Log {
    grants: Mutex<Vec<(u32, Instant)>>,
    enough: usize,
    done: Notify,
}

impl Log {
    /// A log that is done when `enough` waiters have got through.
    pub(super) fn new(enough: u32) -> Self {
        let enough = enough as usize;
        Self {
            grants: Mutex::new(Vec::with_capacity(2 * enough)),
            enough,
            done: Notify::new(),
        }
    }

    /// Waits until enough waiters have got through.
    pub(super) async fn done(&self) {
        self.done.notified().await;
    }

    /// The first waiters that got through.
    pub(super) fn take(&self) -> Vec<(u32, Instant)> {
        let mut grants = std::mem::take(&mut *self.lock());
        grants.truncate(self.enough);
        grants
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn note(&self, index: u32) {
        let mut grants = self.lock();
        grants.push((index, Instant::now()));
        if grants.len() == self.enough {
            self.done.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u32, Instant)>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    pub(super) const fn new(log: Arc<Log>, answers: Answers) -> Self {
        Self { log, answers }
    }

    pub(super) const fn with_answers(mut self, answers: Answers) -> Self {
        self.answers = answers;
        self
    }
}

impl Service<Request<u32>> for Recorder {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Recorded;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<u32>) -> Recorded {
        self.log.note(*request.body());
        Recorded {
            answers: self.answers,
        }
    }
}

/// The response of a [`Recorder`].
#[derive(Debug)]
pub(super) struct Recorded {
    answers: Answers,
}

impl Future for Recorded {
    type Output = Result<Response<Empty<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.answers {
            Answers::AtOnce => Poll::Ready(Ok(Response::new(Empty::new()))),
            Answers::NextTurn => {
                self.answers = Answers::AtOnce;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Answers::Never => Poll::Pending,
        }
    }
}
