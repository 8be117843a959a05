use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use tokio::sync::oneshot;
use tower_service::Service;

use crate::world::{Answer, Shared};

/// The way to the modelled server. A stack is put around it.
///
/// Always ready. A request that the network loses is never answered, so a stack needs a timeout.
#[derive(Clone)]
pub struct Transport {
    world: Shared,
    tier: usize,
}

/// An extension of a fleet's requests, which marks the attempts of one call. If a stack does not
/// pass extensions on, its attempts are counted, but not told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTag(pub(crate) u32);

impl Transport {
    pub(crate) const fn new(world: Shared, tier: usize) -> Self {
        Self { world, tier }
    }
}

impl<B> Service<Request<B>> for Transport {
    type Response = Response<Empty<Bytes>>;
    type Error = io::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let call = request.extensions().get().map(|CallTag(call)| *call);
        ResponseFuture {
            answer: Some(self.world.send(self.tier, call)),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("tier", &self.tier)
            .finish_non_exhaustive()
    }
}

/// The answer of the modelled server.
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct ResponseFuture {
    /// `None` once it is known that there will be no answer.
    answer: Option<oneshot::Receiver<Answer>>,
}

impl Future for ResponseFuture {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(answer) = &mut self.answer else {
            return Poll::Pending;
        };
        if let Ok(answer) = ready!(Pin::new(answer).poll(cx)) {
            return Poll::Ready(answer);
        }
        // Lost on the way: silence.
        self.answer = None;
        Poll::Pending
    }
}
