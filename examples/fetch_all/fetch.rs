//! One page, fetched through the stack.

use std::{error::Error as StdError, num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use courteous::{
    Courteous, Error, Stack,
    concurrency::ConcurrencyLimitLayer,
    core::{RejectReason, Rejected},
    retry::{Budget, RetryLayer},
    throttle::{Rate, ThrottleLayer},
    timeout::{AttemptTimeoutLayer, Coverage},
};
use http::{Request, StatusCode, Uri, header::USER_AGENT};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// How long a page may take, to its last byte.
const PAGE: Duration = Duration::from_secs(30);

/// Fetches pages within limits that all its clones share.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    http: Courteous<Client<HttpConnector, Empty<Bytes>>>,
    budget: Budget,
}

impl Fetcher {
    pub(crate) fn new(rate: Rate, concurrency: NonZeroUsize) -> Result<Self, Box<dyn StdError>> {
        // A budget keeps retries from adding to the load of a failing server. Here the throttle
        // does so, as retries also count towards the rate. And one dead host must not use up the
        // budget that the others need.
        let budget = Budget::unlimited();
        let stack = Stack::new()
            // The last page of a long list waits hours for its turn, and the user asked for that.
            .with_total_timeout(Duration::MAX)
            .with_retry(
                RetryLayer::new()
                    .with_max_attempts(4)?
                    .with_budget(budget.clone()),
            )
            .with_concurrency_limit(ConcurrencyLimitLayer::per_origin(concurrency.get())?)
            .with_throttle(ThrottleLayer::per_origin(rate))
            // There is no total timeout, so this timeout must end a body that stops halfway.
            .with_attempt_timeout(AttemptTimeoutLayer::new(PAGE).with_coverage(Coverage::Body))
            .build()?;
        let http = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self {
            http: stack.layer(http),
            budget,
        })
    }

    /// Fetches a page. Returns its length, or the reason why the fetch failed.
    pub(crate) async fn fetch(&self, url: Uri) -> Result<u64, String> {
        let request = Request::get(url)
            .header(USER_AGENT, "courteous-fetch-all")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = self.http.send(request).await;
        let response = response.map_err(|error| reason(&error))?;
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = 0;
        // An error page is read, too: only then can its connection be used again.
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| reason(&Error::new(error)))?;
            bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        match status {
            StatusCode::OK => Ok(bytes),
            status => Err(status.to_string()),
        }
    }

    /// How many requests were retries.
    pub(crate) fn retries(&self) -> u64 {
        self.budget.retries()
    }
}

/// Why a page could not be fetched: in few words, so that failures of the same kind are counted
/// together.
fn reason(error: &Error) -> String {
    if error.is_timeout() {
        return format!("no page within {PAGE:?}");
    }
    if let Some(rejected) = error.find::<Rejected>() {
        return match rejected.reason() {
            RejectReason::Paused => "the host asks for a long pause".into(),
            other => format!("not sent: {other:?}"),
        };
    }
    let mut cause: &dyn StdError = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
