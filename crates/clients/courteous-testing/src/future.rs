use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use courteous_core::{BoxError, timer};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::{
    Answer, ScriptBody,
    answer::Outcome,
    call::End,
    record::{Decided, Record, permanent},
    script::Turn,
};

pin_project! {
    /// The response of a [`ScriptService`](crate::ScriptService).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<B> {
        record: Arc<Record>,
        number: usize,
        // Kept until the call is over, as a connection keeps it.
        #[pin]
        body: Option<B>,
        state: State,
    }

    impl<B> PinnedDrop for ResponseFuture<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // The first end counts: nothing changes for a call that is over.
            this.record.end(*this.number, End::Dropped);
        }
    }
}

enum State {
    Reading(Turn),
    Delayed(Answer, Pin<Box<Sleep>>),
    Silent,
    Over,
}

impl<B> ResponseFuture<B> {
    pub(crate) fn new(record: Arc<Record>, request: Request<B>) -> Self {
        let (head, body) = request.into_parts();
        let (number, turn) = record.begin(head);
        Self {
            record,
            number,
            body: Some(body),
            state: State::Reading(turn),
        }
    }
}

impl<B> Future for ResponseFuture<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ScriptBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (record, number) = (&**this.record, *this.number);
        let result = loop {
            match std::mem::replace(this.state, State::Over) {
                State::Reading(turn) => {
                    if turn.reads_body() {
                        match poll_body(record, number, this.body.as_mut(), cx) {
                            Poll::Ready(Ok(())) => {}
                            Poll::Ready(Err(error)) => break Err(error),
                            Poll::Pending => {
                                *this.state = State::Reading(turn);
                                return Poll::Pending;
                            }
                        }
                    }
                    let answer = match record.decide(number, turn) {
                        Decided::Answer(answer) => answer,
                        Decided::Unexpected(error) => break Err(permanent(error)),
                    };
                    if answer.delay().is_zero() {
                        match settle(answer) {
                            Some(result) => break result,
                            None => *this.state = State::Silent,
                        }
                        continue;
                    }
                    match Instant::now().checked_add(answer.delay()) {
                        Some(end) => match timer(end) {
                            Ok(sleep) => *this.state = State::Delayed(answer, Box::pin(sleep)),
                            Err(error) => break Err(error.into()),
                        },
                        None => *this.state = State::Silent,
                    }
                }
                State::Delayed(answer, mut sleep) => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        *this.state = State::Delayed(answer, sleep);
                        return Poll::Pending;
                    }
                    match settle(answer) {
                        Some(result) => break result,
                        None => *this.state = State::Silent,
                    }
                }
                State::Silent => {
                    *this.state = State::Silent;
                    return Poll::Pending;
                }
                // Polled after its end.
                State::Over => return Poll::Pending,
            }
        };
        this.body.set(None);
        let end = match &result {
            Ok(response) => End::Answered(response.status()),
            Err(_) => End::Failed,
        };
        record.end(number, end);
        Poll::Ready(result)
    }
}

/// What the call ends with; `None` if it does not end.
fn settle(answer: Answer) -> Option<Result<Response<ScriptBody>, BoxError>> {
    match answer.outcome() {
        Outcome::Respond(response) => Some(Ok(response)),
        Outcome::Fail(failure) => Some(Err(failure.into_error())),
        Outcome::Invalid(error) => Some(Err(permanent(error))),
        Outcome::Never => None,
    }
}

/// Reads the body to its end, into the record.
fn poll_body<B>(
    record: &Record,
    number: usize,
    body: Pin<&mut Option<B>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), BoxError>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let Some(mut body) = body.as_pin_mut() else {
        return Poll::Ready(Ok(()));
    };
    while let Some(frame) = ready!(body.as_mut().poll_frame(cx)) {
        match frame.map_err(Into::into)?.into_data() {
            Ok(mut data) => {
                // Read before the record is locked: this may be foreign code.
                let data = data.copy_to_bytes(data.remaining());
                record.edit(number, |call| call.add_data(&data));
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    record.edit(number, |call| call.set_trailers(trailers));
                }
            }
        }
    }
    record.edit(number, |call| call.set_complete());
    Poll::Ready(Ok(()))
}

impl Turn {
    /// A closure sees all of the request; a call that the script does not know is not read.
    fn reads_body(&self) -> bool {
        match self {
            Self::Given(answer) => answer.reads_body(),
            Self::Ask(_) => true,
            Self::Unexpected(_) => false,
        }
    }
}

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("call", &self.number)
            .finish_non_exhaustive()
    }
}
