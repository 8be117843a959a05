//! The three clients.

use std::{error::Error, future::Future, time::Duration};

use bytes::Bytes;
use courteous::{
    BoxError, ServiceBuilder, ServiceBuilderExt,
    concurrency::adaptive::{self, AdaptiveLimitLayer, Partition as _},
    idempotency::IdempotencyKeyLayer,
    retry::RetryLayer,
    throttle::{Rate, ThrottleLayer},
};
use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::{sleep, timeout};
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::calls::{ATTEMPT_TIMEOUT, PATIENCE};

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// A client that makes calls.
pub(crate) trait Call: Clone + Send + Sync + 'static {
    /// Makes one call, and returns whether it was served.
    fn call(&self, uri: Uri) -> impl Future<Output = bool> + Send;

    /// How many requests it may have in flight now, if it has a limit that learns.
    fn limit(&self) -> Option<f64> {
        None
    }
}

/// Timeouts only.
#[derive(Clone, Debug)]
pub(crate) struct NoRetry(HttpClient);

/// Three retries, with exponential backoff from 100 ms and full jitter.
#[derive(Clone, Debug)]
pub(crate) struct Usual(NoRetry);

/// The layers of a stack, with a limit that learns.
#[derive(Clone, Debug)]
pub(crate) struct Polite {
    client: BoxCloneSyncService<Request<Full<Bytes>>, StatusCode, BoxError>,
    limits: Option<adaptive::PerOrigin>,
}

impl NoRetry {
    pub(crate) fn new() -> Self {
        // With HTTP/2, an attempt that is given up costs no connection.
        let mut http = Client::builder(TokioExecutor::new());
        Self(http.http2_only(true).build_http())
    }
}

impl Call for NoRetry {
    async fn call(&self, uri: Uri) -> bool {
        let response = timeout(ATTEMPT_TIMEOUT, self.0.get(uri)).await;
        matches!(response, Ok(Ok(response)) if response.status() == StatusCode::OK)
    }
}

impl Usual {
    pub(crate) fn new() -> Self {
        Self(NoRetry::new())
    }
}

impl Call for Usual {
    async fn call(&self, uri: Uri) -> bool {
        let mut backoff = Duration::from_millis(100);
        for _ in 0..3 {
            if self.0.call(uri.clone()).await {
                return true;
            }
            sleep(backoff.mul_f64(rand::random_range(0.0..1.0))).await;
            backoff *= 2;
        }
        self.0.call(uri).await
    }
}

impl Polite {
    /// Without the limit if it `is_broken`. All else has the defaults, but for the timeouts.
    pub(crate) fn new(is_broken: bool) -> Result<Self, Box<dyn Error>> {
        let NoRetry(http) = NoRetry::new();
        let outside = ServiceBuilder::new()
            .idempotency_key(IdempotencyKeyLayer::new())
            .total_timeout(PATIENCE);
        let inside = ServiceBuilder::new()
            .throttle(ThrottleLayer::per_origin(Rate::UNLIMITED))
            .attempt_timeout(ATTEMPT_TIMEOUT)
            .service(http);
        if is_broken {
            let client = outside.retry(RetryLayer::new()).service(inside);
            return Ok(Self {
                client: BoxCloneSyncService::new(client.map_response(|r| status(&r))),
                limits: None,
            });
        }
        let limit = AdaptiveLimitLayer::new().with_attempt_timeout(ATTEMPT_TIMEOUT);
        let limit = AdaptiveLimitLayer::per_origin(limit);
        let limits = Some(limit.partition().clone());
        let retry = RetryLayer::new().with_adaptive_limit_inside();
        let client = outside.retry(retry).layer(limit).service(inside);
        Ok(Self {
            client: BoxCloneSyncService::new(client.map_response(|r| status(&r))),
            limits,
        })
    }
}

fn status<B: Body>(response: &Response<B>) -> StatusCode {
    response.status()
}

impl Call for Polite {
    async fn call(&self, uri: Uri) -> bool {
        let Ok(request) = Request::get(uri).body(Full::default()) else {
            return false;
        };
        let status = self.client.clone().oneshot(request).await;
        status.is_ok_and(|status| status == StatusCode::OK)
    }

    fn limit(&self) -> Option<f64> {
        let limits = self.limits.as_ref()?.snapshot()?.limits;
        Some(limits.iter().map(|learned| learned.limit).sum())
    }
}
