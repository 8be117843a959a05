use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{CallRecord, Rejected, WaitedFor};
use http::{Extensions, Request};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::Turn;

pin_project! {
    /// A call that waits to be sent. It first waits for its turn, and then until its own clone of
    /// the inner service is ready.
    pub struct Waiting<S, B, T, R> {
        #[pin]
        turn: T,
        service: S,
        // Taken when the request is sent.
        request: Option<Request<B>>,
        reject: R,
        phase: Phase,
        waited_for: WaitedFor,
        // Whether the call was ready once, and then had no token any more.
        missed: bool,
    }

    impl<S, B, T, R> PinnedDrop for Waiting<S, B, T, R> {
        fn drop(this: Pin<&mut Self>) {
            // A call that was sent has ended its wait.
            if this.phase == Phase::Queued {
                end_wait(this.request.as_ref(), this.waited_for);
            }
        }
    }
}

impl<S, B, T, R> fmt::Debug for Waiting<S, B, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("phase", &self.phase)
            .field("waited_for", &self.waited_for)
            .finish_non_exhaustive()
    }
}

/// What a waiting call does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits for its turn, and holds nothing of the inner service.
    Queued,
    /// Its turn had come, but its clone of the inner service was not ready. It waits for the clone.
    Readying,
}

/// Why a call that waited is not sent.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "there is no other cause")]
pub enum WaitFailure<E> {
    /// The inner service failed while it became ready.
    Inner(E),
    /// The wait has ended.
    Rejected(Rejected),
}

impl<S, B, T, R> Waiting<S, B, T, R> {
    /// A call that begins to wait. Its record, if a layer outside has made one, says that it waits
    /// for `waited_for`.
    pub fn new(turn: T, service: S, request: Request<B>, reject: R, waited_for: WaitedFor) -> Self {
        begin_wait(Some(&request), waited_for);
        Self {
            turn,
            service,
            request: Some(request),
            reject,
            phase: Phase::Queued,
            waited_for,
            missed: false,
        }
    }

    /// The request, unless it was sent.
    #[must_use]
    pub const fn request(&self) -> Option<&Request<B>> {
        self.request.as_ref()
    }

    /// What makes an outcome of a rejection.
    #[must_use]
    pub const fn reject(&self) -> &R {
        &self.reject
    }

    /// What the call waits for.
    #[must_use]
    pub fn turn(self: Pin<&mut Self>) -> Pin<&mut T> {
        self.project().turn
    }
}

impl<S, B, T, R> Waiting<S, B, T, R>
where
    S: Service<Request<B>> + Clone,
    T: Turn,
{
    /// Sends the request when its turn has come.
    ///
    /// # Errors
    ///
    /// If the wait has ended, or the inner service failed while it became ready.
    pub fn poll_call(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Future, WaitFailure<S::Error>>> {
        let mut this = self.project();
        loop {
            if *this.phase == Phase::Readying {
                ready!(this.service.poll_ready(cx)).map_err(WaitFailure::Inner)?;
            }
            match this.turn.as_mut().poll(cx) {
                Poll::Ready(turn) => turn.map_err(WaitFailure::Rejected)?,
                Poll::Pending => {
                    if mem::replace(this.phase, Phase::Queued) == Phase::Readying {
                        // The clone was readied for nothing: the tokens went to others meanwhile.
                        *this.missed = true;
                        begin_wait(this.request.as_ref(), *this.waited_for);
                        *this.service = this.service.clone();
                    }
                    return Poll::Pending;
                }
            }
            if *this.phase == Phase::Queued {
                let ready = this.service.poll_ready(cx).map_err(WaitFailure::Inner)?;
                if ready.is_pending() {
                    // A call that missed its turn keeps the next one while it readies its clone.
                    // Otherwise, a crowd of such calls could pass a token round for ever. This
                    // costs the other calls one token, which comes back to them.
                    if !*this.missed {
                        this.turn.as_mut().pass();
                    }
                    *this.phase = Phase::Readying;
                    end_wait(this.request.as_ref(), *this.waited_for);
                    return Poll::Pending;
                }
            }
            let phase = mem::replace(this.phase, Phase::Queued);
            if this.turn.as_mut().spend()
                && let Some(request) = this.request.take()
            {
                if phase == Phase::Queued {
                    end_wait(Some(&request), *this.waited_for);
                }
                return Poll::Ready(Ok(this.service.call(request)));
            }
            // The turn was granted too long ago. The call gives the readiness back, and waits
            // again.
            *this.service = this.service.clone();
            if phase == Phase::Readying {
                begin_wait(this.request.as_ref(), *this.waited_for);
            }
        }
    }
}

/// The call waits for its turn, as its record says from now on, if a layer outside has made one.
fn begin_wait<B>(request: Option<&Request<B>>, waited_for: WaitedFor) {
    if let Some(record) = record(request) {
        record.begin_wait(waited_for);
    }
}

/// The call waits for its turn no longer: it is sent, waits for its clone, or was dropped.
fn end_wait<B>(request: Option<&Request<B>>, waited_for: WaitedFor) {
    if let Some(record) = record(request) {
        record.end_wait(waited_for);
    }
}

fn record<B>(request: Option<&Request<B>>) -> Option<&CallRecord> {
    let extensions: Option<&Extensions> = request.map(Request::extensions);
    extensions.and_then(CallRecord::of)
}
