use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use courteous_core::BoxError;
use http::Response;
use http_body::Body;
use tokio::time::{Sleep, sleep};

use crate::{CountingBody, Reply, TestBody, reply::Outcome, shared::Shared};

/// The response of a [`Probe`](crate::Probe).
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct ProbeFuture<B> {
    shared: Arc<Shared>,
    index: usize,
    body: Option<Pin<Box<B>>>,
    unread: bool,
    reply: Option<Reply>,
    pausing: Option<Pin<Box<Sleep>>>,
}

impl<B> ProbeFuture<B> {
    /// The call `index`, which keeps the request's body until it resolves.
    pub(crate) fn new(
        shared: Arc<Shared>,
        index: usize,
        body: B,
        unread: bool,
        reply: Reply,
    ) -> Self {
        Self {
            shared,
            index,
            body: Some(Box::pin(body)),
            unread,
            reply: Some(reply),
            pausing: None,
        }
    }
}

impl<B> ProbeFuture<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_request_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.unread {
            let Some(body) = &mut self.body else { break };
            let frame = ready!(body.as_mut().poll_frame(cx));
            let mut state = self.shared.lock();
            let seen = &mut state.seen[self.index].body;
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => {
                        seen.chunks += 1;
                        let mut bytes = vec![0; data.remaining()];
                        data.copy_to_slice(&mut bytes);
                        seen.data.append(&mut bytes);
                    }
                    Err(frame) => seen.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    seen.error = Some(error.into().to_string());
                    self.unread = false;
                }
                None => {
                    seen.ended = true;
                    self.unread = false;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<B> Future for ProbeFuture<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<CountingBody<TestBody>>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        ready!(this.poll_request_body(cx));
        let reply = this
            .reply
            .as_mut()
            .expect("a layer polled a future that has resolved");
        if reply.pending > 0 {
            reply.pending -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(delay) = reply.after {
            let pausing = this.pausing.get_or_insert_with(|| Box::pin(sleep(delay)));
            ready!(pausing.as_mut().poll(cx));
            reply.after = None;
        }
        if let Some(latch) = &reply.latch {
            ready!(latch.poll_open(cx));
        }
        if let Outcome::Never = reply.outcome {
            return Poll::Pending;
        }
        this.shared.lock().in_flight -= 1;
        this.body = None;
        match this.reply.take().map(|reply| reply.outcome) {
            Some(Outcome::Respond(response)) => {
                let bodies = &this.shared.bodies;
                Poll::Ready(Ok(response.map(|body| CountingBody::new(body, bodies))))
            }
            Some(Outcome::Fail(error)) => Poll::Ready(Err(error)),
            Some(Outcome::Never) | None => Poll::Pending,
        }
    }
}

impl<B> Drop for ProbeFuture<B> {
    fn drop(&mut self) {
        if self.reply.is_some() {
            let mut state = self.shared.lock();
            state.in_flight -= 1;
            state.dropped += 1;
        }
    }
}

impl<B> fmt::Debug for ProbeFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFuture")
            .field("call", &self.index)
            .finish_non_exhaustive()
    }
}
