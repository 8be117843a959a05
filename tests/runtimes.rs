//! One client used from several runtimes. The runtime that drives a pooled connection ends.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a check that fails panics, and the server is a thread of its own"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use courteous::{AnyBody, BoxError, Error, Stack, reqwest::ReqwestService};
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt};

/// Reads the head of a request.
fn read_head(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut byte = [0; 1];
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            _ => return false,
        }
    }
    true
}

/// Answers all requests but the second on the first connection: reports that request, and does not
/// answer it.
fn serve() -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            let (mut stream, tell) = (stream.unwrap(), tell.clone());
            thread::spawn(move || {
                let mut request = 0;
                while read_head(&mut stream) {
                    request += 1;
                    if (connection, request) == (0, 2) {
                        let _ = tell.send(());
                    } else {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                    }
                }
            });
        }
    });
    (address, told)
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// Sends one request from a runtime, and another from a second runtime over the first one's
/// connection. Then the first runtime ends.
fn from_two_runtimes<S, B, RB>(
    client: S,
    request: impl Fn(String) -> Request<B>,
) -> Result<u16, Error>
where
    S: Service<Request<B>, Response = Response<RB>, Error = Error, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Send + 'static,
    RB: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let (address, told) = serve();
    let uri = format!("http://{address}/");
    let call = |request| {
        let client = client.clone();
        async move {
            let response = client.oneshot(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await;
            assert_eq!(body.map_err(Into::into).unwrap().to_bytes(), "ok");
            Ok::<_, Error>(status)
        }
    };
    let first = runtime();
    assert_eq!(first.block_on(call(request(uri.clone()))).unwrap(), 200);
    // The connection returns to the pool on its own task.
    first.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(50)).await });
    let second = call(request(uri));
    let second = thread::spawn(move || runtime().block_on(second));
    told.recv().unwrap();
    first.shutdown_background();
    second.join().unwrap()
}

fn hyper_client() -> Client<HttpConnector, AnyBody> {
    Client::builder(TokioExecutor::new()).build_http()
}

#[test]
fn a_get_survives_the_runtime_of_its_connection() {
    let client = Stack::new().build().unwrap().layer(hyper_client());
    let get = |uri| Request::get(uri).body(AnyBody::empty()).unwrap();
    assert_eq!(from_two_runtimes(client, get).unwrap(), 200);
}

#[test]
fn a_get_of_reqwest_survives_the_runtime_of_its_connection() {
    let client = reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    let stack = Stack::new().build().unwrap();
    let client = stack.layer(ReqwestService::new(client));
    let get = |uri| Request::get(uri).body(reqwest::Body::default()).unwrap();
    assert_eq!(from_two_runtimes(client, get).unwrap(), 200);
}

#[test]
fn a_post_survives_the_runtime_of_its_connection_only_with_a_key() {
    let client = || Stack::new().build().unwrap().layer(hyper_client());
    let keyed = |uri| {
        let request = Request::post(uri).header("idempotency-key", "one-and-only");
        request.body(AnyBody::empty()).unwrap()
    };
    assert_eq!(from_two_runtimes(client(), keyed).unwrap(), 200);
    let unkeyed = |uri| Request::post(uri).body(AnyBody::empty()).unwrap();
    let error = from_two_runtimes(client(), unkeyed).unwrap_err();
    assert_eq!(error.attempts(), Some(1));
}
