use std::{error::Error, num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use courteous::{
    Courteous, Stack,
    concurrency::ConcurrencyLimitLayer,
    throttle::{Rate, ThrottleLayer},
};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// HTTP/1.1 and HTTP/2, over TLS by Mozilla's roots if the URL says `https`.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The longest that an attempt may take, unless the whole call has less time.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The standard stack around a new client.
///
/// There is no key layer: a letter keeps the key of its first send, or has none.
pub(crate) fn client(
    timeout: Duration,
    rate: Option<Rate>,
    concurrency: NonZeroUsize,
) -> Result<Courteous<HttpClient>, Box<dyn Error + Send + Sync>> {
    let stack = Stack::new()
        .with_total_timeout(timeout)
        .with_attempt_timeout(ATTEMPT.min(timeout))
        .with_throttle(ThrottleLayer::per_origin(rate.unwrap_or(Rate::UNLIMITED)))
        .with_concurrency_limit(ConcurrencyLimitLayer::per_origin(concurrency.get())?)
        .build()?;
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_all_versions()
        .build();
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    Ok(stack.layer(client))
}
