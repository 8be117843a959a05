use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{BoxError, NoRuntime};
use http::Response;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{
    Coverage, DeadlineBody, echo,
    events::Subject,
    limit::{Limit, poll_timer},
    silence::Silence,
    told::Told,
    wait::Wait,
};

pin_project! {
    /// Polls a response before its timer: a response that is here at the deadline is still a
    /// response.
    ///
    /// When it resolves, the inner future and the timer are gone. Polled after that, it stays
    /// pending.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        #[pin]
        timer: Option<Sleep>,
        limit: Option<Limit>,
        coverage: Coverage,
        // Boxed, as few calls have one, and each byte of a call is moved several times.
        silence: Option<Box<Silence>>,
        // Whether the request states the limit, which is shorter than the call's.
        is_stated: bool,
        // Told of the limit that strikes first, after which there is none.
        told: Told,
        subject: Subject,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Waiting { #[pin] inner: F },
        Rejected { limit: Limit },
        Resolved,
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) const fn new(
        inner: F,
        limit: Option<Limit>,
        coverage: Coverage,
        told: Told,
        subject: Subject,
    ) -> Self {
        Self {
            state: State::Waiting { inner },
            timer: None,
            limit,
            coverage,
            silence: None,
            is_stated: false,
            told,
            subject,
        }
    }

    /// Of an attempt. The limit moves as `silence` says. If it `is_stated`, the server knows it, and it is that of the
    /// attempt alone.
    pub(crate) const fn attempt(
        inner: F,
        limit: Option<Limit>,
        coverage: Coverage,
        silence: Option<Box<Silence>>,
        is_stated: bool,
        told: Told,
        subject: Subject,
    ) -> Self {
        Self {
            state: State::Waiting { inner },
            timer: None,
            limit,
            coverage,
            silence,
            is_stated,
            told,
            subject,
        }
    }

    /// Of a call that is not made, as there is no time left for it.
    pub(crate) const fn rejected(limit: Limit, told: Told, subject: Subject) -> Self {
        Self {
            state: State::Rejected { limit },
            timer: None,
            limit: None,
            coverage: Coverage::Headers,
            silence: None,
            is_stated: false,
            told,
            subject,
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<DeadlineBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut outcome = match this.state.as_mut().project() {
            StateProj::Waiting { inner } => match inner.poll(cx) {
                Poll::Ready(outcome) => outcome.map_err(Into::into),
                Poll::Pending => {
                    let Some(limit) = this.limit else {
                        return Poll::Pending;
                    };
                    let end = ready!(poll_limit(this.timer.as_mut(), limit, this.silence, cx));
                    let error = match end {
                        Ok(()) => this.told.strike(limit, this.subject),
                        Err(no_runtime) => this.told.unless_observed(no_runtime),
                    };
                    let Some(error) = error else {
                        *this.limit = None;
                        *this.silence = None;
                        this.timer.set(None);
                        return Poll::Pending;
                    };
                    Err(error)
                }
            },
            StateProj::Rejected { limit } => {
                this.told.note(limit);
                Err(limit.strike(this.subject))
            }
            StateProj::Resolved => return Poll::Pending,
        };
        this.state.set(State::Resolved);
        this.timer.set(None);
        if let (Ok(response), true, Some(limit)) = (&mut outcome, *this.is_stated, &*this.limit)
            && echo::is_too_late(response)
        {
            this.told.note(limit);
            response.extensions_mut().insert(limit.elapsed());
        }
        let limit = this
            .limit
            .take_if(|_| matches!(this.coverage, Coverage::Body));
        let wait = Wait::new(
            limit,
            this.silence.take(),
            mem::take(this.told),
            mem::take(this.subject),
        );
        Poll::Ready(outcome.map(|response| response.map(|body| DeadlineBody::new(body, wait))))
    }
}

/// Waits for `limit`, which is moved as long as `silence` moves it. Fails if there is no runtime to wait on.
fn poll_limit(
    mut timer: Pin<&mut Option<Sleep>>,
    limit: &mut Limit,
    silence: &Option<Box<Silence>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), NoRuntime>> {
    if timer.is_none() {
        timer.set(Some(limit.timer()?));
    }
    let Some(mut timer) = timer.as_pin_mut() else {
        return Poll::Pending;
    };
    loop {
        ready!(poll_timer(timer.as_mut(), cx));
        match silence.as_ref().and_then(|it| it.extend(limit)) {
            Some(later) => *limit = later,
            None => return Poll::Ready(Ok(())),
        }
        timer.as_mut().reset(limit.deadline());
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("limit", &self.limit)
            .field("coverage", &self.coverage)
            .finish_non_exhaustive()
    }
}
