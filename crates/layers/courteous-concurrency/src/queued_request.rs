use courteous_core::{CallRecord, WaitedFor};
use http::{Extensions, Request};

/// The request of a call that waits.
///
/// How long it is queued for a permit is written into the call's record, if a layer outside has
/// made one, also if the call is dropped.
pub(crate) struct QueuedRequest<B> {
    /// `Some` until it is taken.
    request: Option<Request<B>>,
    is_queued: bool,
}

impl<B> QueuedRequest<B> {
    /// A request that is queued from now on.
    pub(crate) fn new(request: Request<B>) -> Self {
        let mut queued = Self {
            request: Some(request),
            is_queued: false,
        };
        queued.join();
        queued
    }

    /// Whether it waits for a permit, and not for something else.
    pub(crate) const fn is_queued(&self) -> bool {
        self.is_queued
    }

    /// It waits for a permit, again.
    pub(crate) fn join(&mut self) {
        if !self.is_queued {
            self.is_queued = true;
            if let Some(record) = self.record() {
                record.begin_wait(WaitedFor::Concurrency);
            }
        }
    }

    /// It waits for a permit no longer.
    pub(crate) fn leave(&mut self) {
        if self.is_queued {
            self.is_queued = false;
            if let Some(record) = self.record() {
                record.end_wait(WaitedFor::Concurrency);
            }
        }
    }

    /// The request, unless it was taken.
    pub(crate) const fn get(&self) -> Option<&Request<B>> {
        self.request.as_ref()
    }

    /// Takes the request out of the queue, to be sent.
    pub(crate) fn take(&mut self) -> Option<Request<B>> {
        self.leave();
        self.request.take()
    }

    fn record(&self) -> Option<&CallRecord> {
        let extensions = self.request.as_ref().map(Request::extensions);
        extensions.and_then(Extensions::get)
    }
}

impl<B> Drop for QueuedRequest<B> {
    fn drop(&mut self) {
        self.leave();
    }
}
