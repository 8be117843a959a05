use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use courteous_core::BoxError;
use http_body::{Body, Frame, SizeHint};

use super::line::Line;
use crate::ScriptBody;

/// A response's body, which ends the connection where the script cuts it.
pub(super) struct SentBody {
    body: ScriptBody,
    line: Arc<Line>,
    cutting: Cutting,
}

enum Cutting {
    No,
    /// What came before is not known to be sent. There were so many flushes when that was first
    /// asked.
    After(u64),
    Done,
}

impl SentBody {
    pub(super) const fn new(body: ScriptBody, line: Arc<Line>) -> Self {
        Self {
            body,
            line,
            cutting: Cutting::No,
        }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            match this.cutting {
                Cutting::No if this.body.is_about_to_be_cut() => {
                    this.cutting = Cutting::After(this.line.flushes());
                }
                Cutting::No => return Pin::new(&mut this.body).poll_frame(cx),
                // hyper flushes what it has whenever a body is pending.
                Cutting::After(flushes) => {
                    ready!(this.line.poll_flushed(flushes, cx));
                    this.line.lose(false);
                    this.cutting = Cutting::Done;
                }
                Cutting::Done => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
