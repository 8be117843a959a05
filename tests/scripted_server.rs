//! The server of a courteous-testing script: real clients give the errors that its faults stand
//! for. On the running clock, as sockets are real.

#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use std::time::Duration;

use bytes::Bytes;
use courteous::{
    AnyBody, Stack,
    reqwest::ReqwestService,
    retry::{RetryInfo, StopReason},
    stack::StackLayer,
};
use courteous_testing::{Answer, End, Script, ScriptServer};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use net::{brisk_retry, eventually, h1_client, h2_client};

fn stack() -> StackLayer {
    Stack::new().with_retry(brisk_retry()).build().unwrap()
}

fn reqwest_client() -> ReqwestService {
    let builder = reqwest::Client::builder().no_proxy();
    let client = builder.retry(reqwest::retry::never()).build();
    ReqwestService::new(client.unwrap())
}

async fn serve(answers: impl Into<Script>) -> ScriptServer {
    answers.into().serve().await.unwrap()
}

fn request<B: From<Bytes>>(method: Method, url: String) -> Request<B> {
    let request = Request::builder().method(method).uri(url);
    request.body(Bytes::from("100").into()).unwrap()
}

#[tokio::test]
async fn a_script_is_the_same_to_hyper_and_to_reqwest() {
    let script = Script::new([
        Answer::status(429).retry_after(Duration::ZERO),
        Answer::connection_reset(),
        Answer::ok().body("a note"),
    ]);
    let server = serve(script.clone()).await;
    let client = stack().layer(h1_client::<AnyBody>());
    let response = client
        .send(request(Method::PUT, server.url("/1")))
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "a note");
    server.assert_done();
    let bodies: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.text().into_owned())
        .collect();
    assert_eq!(bodies, ["100", "100", "100"]);

    let server = serve(script).await;
    let client = stack().layer(reqwest_client());
    let response = client
        .send(request(Method::PUT, server.url("/1")))
        .await
        .unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 3);
    server.assert_done();
}

#[tokio::test]
async fn a_lost_connection_ends_a_post_of_hyper_and_of_reqwest() {
    for answer in [Answer::lost(), Answer::connection_closed()] {
        let server = serve(vec![answer; 2]).await;
        let post = |url| request::<AnyBody>(Method::POST, url);
        let client = stack().layer(h1_client::<AnyBody>());
        let error = client.send(post(server.url("/"))).await.unwrap_err();
        assert_eq!(
            error.stop_reason(),
            Some(StopReason::NotIdempotent),
            "{error}"
        );

        let client = stack().layer(reqwest_client());
        let post = request(Method::POST, server.url("/"));
        let error = client.send(post).await.unwrap_err();
        assert_eq!(
            error.stop_reason(),
            Some(StopReason::NotIdempotent),
            "{error}"
        );
        server.assert_done();
    }
}

#[tokio::test]
async fn a_body_that_is_cut_fails_after_what_came() {
    let server = serve(vec![Answer::ok().body("half").cut_body(); 2]).await;
    let client = stack().layer(h1_client::<AnyBody>());
    let response = client
        .send(request(Method::GET, server.url("/")))
        .await
        .unwrap();
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "half"
    );
    assert!(body.frame().await.unwrap().is_err());

    let client = stack().layer(reqwest_client());
    let response = client
        .send(request(Method::GET, server.url("/")))
        .await
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
    server.assert_done();
}

#[tokio::test]
async fn a_server_that_is_gone_refuses_connections() {
    let url = serve(Vec::<Answer>::new()).await.url("/");
    let client = stack().layer(h1_client::<AnyBody>());
    let error = client.send(request(Method::POST, url)).await.unwrap_err();
    // Never sent, so even a POST was sent until all attempts were made.
    assert_eq!(
        error.stop_reason(),
        Some(StopReason::AttemptsExhausted),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_that_the_client_gives_up_is_dropped_at_the_server() {
    let server = serve([Answer::never()]).await;
    let client = stack().layer(h1_client::<AnyBody>());
    let call = tokio::spawn({
        let request = request(Method::GET, server.url("/"));
        async move { client.send(request).await.is_ok() }
    });
    server.wait_for_calls(1).await;
    assert_eq!(server.calls()[0].end(), None);
    call.abort();
    eventually("the call is dropped", || {
        server.calls()[0].end() == Some(End::Dropped)
    })
    .await;
}

#[tokio::test]
async fn over_http2_answers_trailers_and_faults_are_the_same() {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())]);
    let server = serve([
        Answer::status(503),
        Answer::connection_reset(),
        Answer::ok().body("a").trailers(trailers),
        Answer::ok().body("half").cut_body(),
        Answer::lost(),
    ])
    .await;
    let client = stack().layer(h2_client::<AnyBody>());
    let get = || request::<AnyBody>(Method::GET, server.url("/"));
    let body = client.send(get()).await.unwrap().into_body();
    let body = body.collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(server.calls()[0].version(), http::Version::HTTP_2);

    let response = client.send(get()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());

    let post = request::<AnyBody>(Method::POST, server.url("/"));
    let error = client.send(post).await.unwrap_err();
    assert_eq!(
        error.stop_reason(),
        Some(StopReason::NotIdempotent),
        "{error}"
    );
    server.assert_done();
}

#[tokio::test]
async fn a_channel_of_tonic_speaks_with_the_server() {
    let serving = Answer::grpc_message([8, 1]);
    let server = serve([Answer::grpc_status(14), serving]).await;
    let stack = Stack::grpc().with_retry(brisk_retry());
    let stack = stack.with_idempotent_methods(["/grpc.health.v1.Health/Check"]);
    let channel = tonic::transport::Endpoint::from_shared(server.url("")).unwrap();
    let stack = stack.unwrap().build().unwrap();
    let mut client = HealthClient::new(stack.layer(channel.connect_lazy()));
    let response = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(response.get_ref().status(), ServingStatus::Serving);
    server.assert_done();
}
