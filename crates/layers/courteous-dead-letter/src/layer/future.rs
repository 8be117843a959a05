use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_body::Keep;
use courteous_core::BoxError;
use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    pending_call::PendingCall,
    recording::{Recorded, Recording},
};
use crate::NotRecorded;

pin_project! {
    /// The response future of a [`DeadLetter`](crate::DeadLetter).
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F, K, B, RB>
    where
        K: Keep<B>,
        B: Body,
    {
        #[pin]
        state: State<F, B, RB>,
        pending: PendingCall<K, B>,
        must_record: bool,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B, RB>
    where
        B: Body,
    {
        Call { #[pin] call: F },
        /// The call has failed, and its letter is on its way.
        Record {
            result: Option<Result<Response<RB>, BoxError>>,
            recording: Box<Recording<B>>,
        },
        Done,
    }
}

impl<F, K, B, RB> ResponseFuture<F, K, B, RB>
where
    K: Keep<B>,
    B: Body,
{
    pub(crate) const fn new(call: F, pending: PendingCall<K, B>, must_record: bool) -> Self {
        Self {
            state: State::Call { call },
            pending,
            must_record,
        }
    }
}

impl<F, K, B, RB, E> Future for ResponseFuture<F, K, B, RB>
where
    F: Future<Output = Result<Response<RB>, E>>,
    E: Into<BoxError>,
    K: Keep<B>,
    B: Body,
    RB: Body,
{
    type Output = Result<Response<RB>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Call { call } => {
                    let result = ready!(call.poll(cx)).map_err(Into::into);
                    let recording = match &result {
                        Ok(response) => this.pending.settle(Ok(response)),
                        Err(error) => this.pending.settle::<RB>(Err(&**error)),
                    };
                    let Some(recording) = recording else {
                        this.state.set(State::Done);
                        return Poll::Ready(result);
                    };
                    this.state.set(State::Record {
                        result: Some(result),
                        recording: Box::new(recording),
                    });
                }
                StateProj::Record { result, recording } => {
                    let recorded = ready!(recording.poll(cx));
                    let result = result.take();
                    this.state.set(State::Done);
                    return match result {
                        Some(result) => Poll::Ready(tell(result, recorded, *this.must_record)),
                        None => Poll::Pending,
                    };
                }
                StateProj::Done => return Poll::Pending,
            }
        }
    }
}

/// Returns the call's outcome, with the outcome of its letter on it.
fn tell<RB>(
    result: Result<Response<RB>, BoxError>,
    recorded: Recorded,
    must_record: bool,
) -> Result<Response<RB>, BoxError> {
    match (result, recorded) {
        (Ok(mut response), Ok(recorded)) => {
            response.extensions_mut().insert(recorded);
            Ok(response)
        }
        (Ok(_), Err(error)) if must_record => Err(error.into()),
        (Ok(mut response), Err(error)) => {
            response.extensions_mut().insert::<NotRecorded>(error);
            Ok(response)
        }
        (Err(error), Ok(recorded)) => Err(recorded.with_source(error).into()),
        (Err(error), Err(not)) => Err(not.with_source(error).into()),
    }
}

impl<F, K, B, RB> fmt::Debug for ResponseFuture<F, K, B, RB>
where
    K: Keep<B>,
    B: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
