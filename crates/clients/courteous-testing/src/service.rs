use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use courteous_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{Calls, Mismatch, ResponseFuture, Script, ScriptBody, record::Record};

/// A [`Script`] as a `tower` service: it stands in for the client, innermost in a stack.
///
/// It takes requests with any body, and records each call. Its errors are those that a client has:
/// see [`Answer`](crate::Answer).
///
/// # Sharing
///
/// Clones share the script and the record. Keep one, and put another under the layers.
///
/// # Readiness
///
/// Always ready. Each call is answered on its own: a call that is not answered holds up no other.
///
/// As it takes any body, `service.ready()` of `tower::ServiceExt` cannot infer which one is meant.
/// Call `service.clone().oneshot(request)`, whose request names it.
///
/// # Cancel safety
///
/// A call is recorded, and its answer is used up, when `call` is called. Dropping the future before
/// it has resolved is recorded as [`End::Dropped`](crate::End::Dropped).
///
/// # Errors
///
/// What the script says; the error of the request's body if that fails; and, with the verdict
/// *permanent*, [`UnexpectedCall`](crate::UnexpectedCall) and
/// [`InvalidAnswer`](crate::InvalidAnswer). A delay outside of a Tokio runtime fails with
/// [`NoRuntime`](courteous_core::NoRuntime).
#[derive(Clone)]
pub struct ScriptService {
    record: Arc<Record>,
}

impl Script {
    /// A service that answers by this script.
    #[must_use]
    pub fn service(self) -> ScriptService {
        ScriptService::new(self)
    }
}

impl ScriptService {
    pub(crate) fn new(script: Script) -> Self {
        Self {
            record: Record::new(script),
        }
    }

    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.record.calls()
    }

    /// Waits until `calls` calls have come, since the beginning. Cancel safe.
    pub async fn wait_for_calls(&self, calls: usize) {
        self.record.wait_for(calls).await;
    }

    /// Tells whether the calls were those that the script was made for.
    ///
    /// # Errors
    ///
    /// [`Mismatch`] if answers were not given, if there were calls without an answer in the script,
    /// or if an answer was invalid.
    pub fn verify(&self) -> Result<(), Mismatch> {
        self.record.verify()
    }

    /// [`verify`](Self::verify), for the end of a test.
    ///
    /// # Panics
    ///
    /// With the text of the [`Mismatch`].
    #[track_caller]
    pub fn assert_done(&self) {
        crate::asserts::done(self.verify());
    }

    /// Checks how many calls there were.
    ///
    /// # Panics
    ///
    /// With the log of all calls, if there were not exactly `expected`.
    #[track_caller]
    pub fn assert_calls(&self, expected: usize) {
        crate::asserts::calls(&self.calls(), expected);
    }
}

impl From<Script> for ScriptService {
    fn from(script: Script) -> Self {
        Self::new(script)
    }
}

impl<B> Service<Request<B>> for ScriptService
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<ScriptBody>;
    type Error = BoxError;
    type Future = ResponseFuture<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<B> {
        ResponseFuture::new(self.record.clone(), request)
    }
}

impl fmt::Debug for ScriptService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptService")
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}
