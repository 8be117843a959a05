use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use courteous::{
    AnyBody, BoxError,
    retry::{Backoff, Budget, Jitter, RetryLayer},
};
use futures_util::stream;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{net::TcpSocket, time::sleep};

/// hyper-util's client, with one idle connection at most.
pub(crate) fn h1_client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(1)
        .build_http()
}

/// hyper-util's client, which speaks HTTP/2 only.
pub(crate) fn h2_client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

/// A retry that waits only 10 ms, and has an unlimited budget.
pub(crate) fn brisk_retry() -> RetryLayer {
    RetryLayer::new()
        .with_backoff(Backoff::constant(Duration::from_millis(10)).with_jitter(Jitter::None))
        .with_budget(Budget::unlimited())
}

/// A body of several frames, which can be read only once, with trailers.
pub(crate) fn streamed(chunks: &[&'static str], trailers: HeaderMap) -> AnyBody {
    let data = chunks.iter().map(|&chunk| Frame::data(Bytes::from(chunk)));
    let frames: Vec<_> = data
        .chain([Frame::trailers(trailers)])
        .map(Ok::<_, BoxError>)
        .collect();
    AnyBody::new(StreamBody::new(stream::iter(frames)))
}

/// The response's body as text.
pub(crate) async fn text<B>(response: Response<B>) -> String
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    let body = response.into_body().collect().await;
    let bytes = body.map_err(Into::into).unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

/// A port that is bound, so that no other process can listen there. This one does not listen
/// either.
pub(crate) fn nobody_listens() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Waits until `condition` holds, for a minute at most.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("not within a minute: {what}");
}
