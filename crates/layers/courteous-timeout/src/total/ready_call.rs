use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{BoxError, CallRecord, NoteKind};
use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{events::Subject, limit::Limit};

pin_project! {
    /// Readies a service and calls it, unless the time for that is up.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ReadyCall<S, R, F> {
        #[pin]
        state: State<S, R, F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateTaken]
    enum State<S, R, F> {
        Readying { service: S, request: R, limit: Option<Limit> },
        Calling { #[pin] future: F },
        Called,
    }
}

impl<S, R, F> ReadyCall<S, R, F> {
    pub(crate) const fn new(service: S, request: R, limit: Option<Limit>) -> Self {
        Self {
            state: State::Readying {
                service,
                request,
                limit,
            },
        }
    }
}

impl<S, B, F, T, E> Future for ReadyCall<S, Request<B>, F>
where
    S: Service<Request<B>, Response = T, Error = E, Future = F>,
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Readying {
                    service,
                    request,
                    limit,
                } => {
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    // Readiness may come late, and so may the first poll. A response at the
                    // deadline counts, but what is not sent by then is better not sent at all.
                    if let Some(limit) = limit
                        && limit.is_over()
                    {
                        let note = NoteKind::Elapsed(limit.elapsed().scope());
                        CallRecord::note_in(request.extensions(), note);
                        return Poll::Ready(Err(limit.strike(&Subject::of(request))));
                    }
                    let readied = this.state.as_mut().project_replace(State::Called);
                    if let StateTaken::Readying {
                        mut service,
                        request,
                        ..
                    } = readied
                    {
                        let future = service.call(request);
                        this.state.set(State::Calling { future });
                    }
                }
                StateProj::Calling { future } => return future.poll(cx).map_err(Into::into),
                StateProj::Called => return Poll::Pending,
            }
        }
    }
}

impl<S, R, F> fmt::Debug for ReadyCall<S, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyCall").finish_non_exhaustive()
    }
}
