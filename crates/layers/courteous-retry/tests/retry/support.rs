//! Requests, and a retry whose waits are known.

use std::time::Duration;

use bytes::Bytes;
use courteous_core::{BoxError, RejectReason, Rejected, find_cause};
use courteous_retry::{Backoff, Jitter, Retried, Retry, RetryLayer};
use courteous_testkit::{CountingBody, Probe, Reply, TestBody};
use http::{HeaderName, Method, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::time::Instant;
use tower::ServiceExt;

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn body(data: &'static str) -> Body {
    Full::from(data).map_err(Into::into).boxed_unsync()
}

pub(crate) fn request(method: Method) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("http://api.test/charges")
        .body(body("payload"))
        .unwrap()
}

pub(crate) fn keyed() -> Request<Body> {
    let mut request = request(Method::POST);
    let key = HeaderName::from_static("idempotency-key");
    request.headers_mut().insert(key, "k1".parse().unwrap());
    request
}

/// Waits of 100 ms after a failure and of 1 s after a 429, without jitter.
pub(crate) fn steady() -> RetryLayer {
    let constant = |wait| Backoff::constant(Duration::from_millis(wait)).with_jitter(Jitter::None);
    RetryLayer::new()
        .with_backoff(constant(100))
        .with_throttled_backoff(constant(1000))
}

pub(crate) fn send(
    service: &Retry<Probe>,
    request: Request<Body>,
) -> impl Future<Output = Result<Response<CountingBody<TestBody>>, BoxError>> + use<> {
    service.clone().oneshot(request)
}

pub(crate) async fn ready(service: &mut Retry<Probe>) -> &mut Retry<Probe> {
    ServiceExt::<Request<Body>>::ready(service).await.unwrap()
}

pub(crate) fn retried(error: &BoxError) -> &Retried {
    find_cause(&**error).expect("a Retried in the chain")
}

pub(crate) fn closed_until(opens_at: Instant) -> Reply {
    let now = Instant::now();
    let wait = opens_at.saturating_duration_since(now);
    Reply::fail(Rejected::new(RejectReason::Paused).with_wait(now, wait))
}
