use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::Body;

use crate::Payload;

/// Reads a replayed body, up to a limit.
pub(crate) struct Collect<B> {
    /// `None` once the body is not to be read any more.
    body: Option<Pin<Box<B>>>,
    data: Vec<u8>,
    limit: usize,
}

impl<B> Collect<B> {
    pub(crate) fn new(body: B, limit: usize) -> Self {
        Self {
            body: Some(Box::pin(body)),
            data: Vec::new(),
            limit,
        }
    }

    /// Drops the body; it counts as gone.
    pub(crate) fn forget(&mut self) {
        self.body = None;
    }
}

impl<B: Body> Collect<B> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Payload> {
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Payload::Gone);
            };
            let Some(frame) = ready!(body.as_mut().poll_frame(cx)) else {
                return Poll::Ready(Payload::Whole(std::mem::take(&mut self.data).into()));
            };
            // Trailers would be missing when the body is sent again.
            let Some(data) = frame.ok().and_then(|frame| frame.into_data().ok()) else {
                return Poll::Ready(Payload::Gone);
            };
            if !self.take_in(data) {
                return Poll::Ready(Payload::Truncated(std::mem::take(&mut self.data).into()));
            }
        }
    }

    /// Whether all of `data` had room.
    fn take_in(&mut self, mut data: impl Buf) -> bool {
        while data.has_remaining() {
            let room = self.limit - self.data.len();
            if room == 0 {
                return false;
            }
            let chunk = data.chunk();
            let fits = chunk.len().min(room);
            self.data.extend_from_slice(&chunk[..fits]);
            data.advance(fits);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use courteous_testkit::TestBody;
    use http::HeaderMap;

    use super::*;

    fn collect(body: TestBody, limit: usize) -> Poll<Payload> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Collect::new(body, limit).poll(&mut cx)
    }

    #[test]
    fn a_body_within_the_limit_is_whole_and_above_it_is_cut() {
        let body = || TestBody::new().chunk("ab").chunk("").chunk("cde");
        let whole = Payload::Whole(Bytes::from_static(b"abcde"));
        assert_eq!(collect(body(), 6), Poll::Ready(whole.clone()));
        assert_eq!(collect(body(), 5), Poll::Ready(whole));
        let cut = |data| Poll::Ready(Payload::Truncated(Bytes::from_static(data)));
        assert_eq!(collect(body(), 4), cut(b"abcd"));
        assert_eq!(collect(body(), 0), cut(b""));
        let empty = Payload::Whole(Bytes::new());
        assert_eq!(collect(TestBody::new(), 0), Poll::Ready(empty));
    }

    #[test]
    fn a_body_that_cannot_be_sent_again_as_it_was_is_gone() {
        let gone = Poll::Ready(Payload::Gone);
        let body = || TestBody::new().chunk("ab");
        assert_eq!(collect(body().trailers(HeaderMap::new()), 9), gone);
        assert_eq!(collect(body().fail("broken"), 9), gone);
        assert_eq!(collect(body().stall(), 9), Poll::Pending);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut collect = Collect::new(body(), 9);
        collect.forget();
        assert_eq!(collect.poll(&mut cx), gone);
    }
}
