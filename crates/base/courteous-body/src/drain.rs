use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::Body;
use pin_project_lite::pin_project;

/// How much of a discarded body is read: reading more would cost more than the new connection that
/// it saves.
const DRAIN_BYTES: u64 = 64 * 1024;

/// The least that a frame counts, so that a stream of empty frames also comes to an end.
const FRAME_BYTES: u64 = 64;

pin_project! {
    /// Reads the rest of a discarded response body, up to a bound, so that its connection can be
    /// used again.
    ///
    /// At most 64 KiB are read, and each frame counts at least 64 bytes. A body that is known to be
    /// longer is not read.
    #[derive(Debug)]
    pub struct Drain<RB> {
        #[pin]
        body: RB,
        left: u64,
    }
}

impl<RB> Drain<RB> {
    /// Reads `body`.
    pub const fn new(body: RB) -> Self {
        Self {
            body,
            left: DRAIN_BYTES,
        }
    }
}

impl<RB: Body> Future for Drain<RB> {
    type Output = ();

    /// Ready when the body has ended, is known to be too long, or has failed.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        while !this.body.is_end_stream() && this.body.size_hint().lower() <= *this.left {
            let Some(Ok(frame)) = ready!(this.body.as_mut().poll_frame(cx)) else {
                break;
            };
            let length = frame.data_ref().map_or(0, Buf::remaining) as u64;
            let Some(left) = this.left.checked_sub(length.max(FRAME_BYTES)) else {
                break;
            };
            *this.left = left;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use tokio_test::{assert_ready, task};

    use super::*;

    /// A body without an end that does not say so: all its frames are there at once.
    struct Endless {
        frame: &'static [u8],
        given: u64,
    }

    impl Body for Endless {
        type Data = &'static [u8];
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
            self.given += 1;
            assert!(self.given < 1_000_000, "read for ever");
            Poll::Ready(Some(Ok(Frame::data(self.frame))))
        }
    }

    fn frames_read_of(frame: &'static [u8]) -> u64 {
        let mut drain = task::spawn(Drain::new(Endless { frame, given: 0 }));
        assert_ready!(drain.poll());
        drain.body.given
    }

    #[test]
    fn a_body_of_unknown_length_is_read_up_to_the_bound() {
        assert_eq!(frames_read_of(&[0; 1024]), 65);
    }

    #[test]
    fn empty_frames_without_an_end_are_not_read_for_ever() {
        assert_eq!(frames_read_of(&[]), DRAIN_BYTES / FRAME_BYTES + 1);
    }
}
