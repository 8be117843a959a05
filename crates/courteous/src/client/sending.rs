use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// Readies a service of its own, then calls it. As large as the larger of the two states.
    ///
    /// Public methods return it as an `impl Future`: named in their signatures, it would bring the bounds of `S`
    /// into the `Send` check of a spawned block (rust-lang/rust#110338).
    #[project = SendingProj]
    pub(crate) enum Sending<S, R>
    where
        S: Service<R>,
    {
        Unready { service: S, request: Option<R> },
        Called { #[pin] call: S::Future },
    }
}

impl<S: Service<R>, R> Sending<S, R> {
    pub(crate) const fn new(service: S, request: R) -> Self {
        let request = Some(request);
        Self::Unready { service, request }
    }
}

impl<S: Service<R>, R> Future for Sending<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                SendingProj::Unready { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    // `None` only if `call` has panicked in an earlier poll.
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    let call = service.call(request);
                    self.set(Self::Called { call });
                }
                SendingProj::Called { call } => return call.poll(cx),
            }
        }
    }
}
