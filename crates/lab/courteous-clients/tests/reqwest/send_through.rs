use std::time::Duration;

use bytes::Bytes;
use courteous::{
    BoxClient, Error, Stack,
    core::{Elapsed, Scope},
    reqwest::{ReadRetryInfo, ReqwestService, SendThrough},
    retry::StopReason,
    throttle::ThrottleLayer,
};
use courteous_testing::{Answer, Script};
use futures_util::stream;
use reqwest::{Body, multipart};
use serde_json::{Value, json};
use tower_http::follow_redirect::FollowRedirect;

use crate::{busy, client, nowhere, polite};

const LARGE: usize = 100 << 10;

/// A body that can be read only once.
fn stream(size: usize) -> Body {
    Body::wrap_stream(stream::iter([Ok::<_, Error>(Bytes::from(vec![
        b'x';
        size
    ]))]))
}

#[tokio::test]
async fn a_request_and_its_response_keep_what_reqwest_gave_them() {
    let created = Answer::status(201).body(r#"{"id":7}"#);
    let server = Script::new([busy(), created]).serve().await.unwrap();
    let request = client().put(server.url("/orders")).query(&[("dry", "no")]);
    let request = request.bearer_auth("t0k3n").json(&json!({"apples": 3}));
    // The future borrows nothing.
    let sent = tokio::spawn(request.send_through(&polite()));
    let response = sent.await.unwrap().unwrap();

    assert_eq!(response.retry_info().attempts(), 2);
    assert_eq!(response.url().as_str(), server.url("/orders?dry=no"));
    assert_eq!(response.content_length(), Some(8));
    let response = response.error_for_status().unwrap();
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"id": 7}));
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    for call in calls.iter() {
        assert_eq!(call.uri(), "/orders?dry=no");
        assert_eq!(call.header("authorization"), Some("Bearer t0k3n"));
        assert_eq!(call.header("content-type"), Some("application/json"));
        assert_eq!(call.text(), r#"{"apples":3}"#);
    }
}

#[tokio::test]
async fn the_builders_own_client_sends_each_attempt() {
    let login = Answer::ok().header("set-cookie", "session=1; Path=/");
    let answers = [login, busy(), Answer::ok()];
    let server = Script::new(answers).serve().await.unwrap();
    let (client, polite) = (client(), polite());
    for path in ["/login", "/me"] {
        let response = client.get(server.url(path)).send_through(&polite).await;
        assert_eq!(response.unwrap().status(), 200);
    }
    let calls = server.calls();
    assert!(
        calls
            .iter()
            .all(|call| call.header("user-agent") == Some("own"))
    );
    assert_eq!(calls[0].header("cookie"), None);
    assert_eq!(calls[1].header("cookie"), Some("session=1"));
    assert_eq!(calls[2].header("cookie"), Some("session=1"));
}

#[tokio::test]
async fn the_requests_timeout_bounds_all_attempts_together() {
    let server = Script::new([busy(), Answer::never()])
        .serve()
        .await
        .unwrap();
    let timeout = Duration::from_millis(300);
    let request = client().get(server.url("/")).timeout(timeout);
    let error = request.send_through(&polite()).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.find(), Some(&Elapsed::new(timeout, Scope::Total)));
    server.assert_calls(2);
}

#[tokio::test]
async fn the_requests_timeout_also_ends_the_body() {
    let answer = Answer::ok().body("half").stall_body();
    let server = Script::new([answer]).serve().await.unwrap();
    let request = client()
        .get(server.url("/"))
        .timeout(Duration::from_millis(300));
    let response = request.send_through(&polite()).await.unwrap();
    let error = Error::from(response.bytes().await.unwrap_err());
    assert!(error.is_timeout() && error.find::<Elapsed>().is_some());
}

#[tokio::test]
async fn a_large_stream_is_sent_once_and_the_response_says_why() {
    let server = Script::always(busy()).serve().await.unwrap();
    let form = multipart::Form::new().part("file", multipart::Part::stream(stream(LARGE)));
    for request in [
        client().put(server.url("/stream")).body(stream(LARGE)),
        client().put(server.url("/form")).multipart(form),
    ] {
        let response = request.send_through(&polite()).await.unwrap();
        assert_eq!(response.status(), 503);
        let info = response.retry_info();
        assert_eq!(
            (info.attempts(), info.stop_reason()),
            (1, StopReason::BodyNotReplayable)
        );
    }
    server.assert_calls(2);
}

#[tokio::test]
async fn a_small_stream_or_form_is_sent_again() {
    let answers = [busy(), Answer::ok(), busy(), Answer::ok()];
    let server = Script::new(answers).serve().await.unwrap();
    let form = multipart::Form::new().text("name", "Ada");
    for request in [
        client().put(server.url("/")).body(stream(10)),
        client().put(server.url("/")).multipart(form),
    ] {
        let response = request.send_through(&polite()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.retry_info().attempts()),
            (200, 2)
        );
    }
    let calls = server.calls();
    assert_eq!(calls[0].body(), calls[1].body());
    assert!(calls[2].text().contains("Ada") && calls[2].body() == calls[3].body());
}

#[tokio::test]
async fn a_small_form_is_sent_a_third_time() {
    let answers = [busy(), busy(), Answer::ok()];
    let server = Script::new(answers).serve().await.unwrap();
    let form = multipart::Form::new().text("name", "Ada");
    let request = client().put(server.url("/")).multipart(form);
    let response = request.send_through(&polite()).await.unwrap();
    let info = response.retry_info();
    assert_eq!(
        (response.status().as_u16(), info.attempts()),
        (200, 3),
        "{info:?}"
    );
}

#[tokio::test]
async fn a_redirect_is_followed_unless_the_body_is_read_once() {
    let moved = || Answer::status(307).header("location", "/new");
    let server = Script::new([moved(), Answer::ok(), moved()])
        .serve()
        .await
        .unwrap();
    let polite = polite();
    let request = client().put(server.url("/old")).body("bytes");
    let response = request.send_through(&polite).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.url().path()),
        (200, "/new")
    );
    assert_eq!(server.calls()[1].body(), b"bytes");

    let request = client().put(server.url("/old")).body(stream(10));
    let response = request.send_through(&polite).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.url().path()),
        (307, "/old")
    );
    server.assert_calls(3);
}

#[tokio::test]
async fn a_redirect_takes_a_token_only_where_it_is_followed_around_the_stack() {
    let moved = || Answer::status(302).header("location", "/new");
    let answers = [moved(), Answer::ok(), moved()];
    let server = Script::new(answers).serve().await.unwrap();
    // Each with tokens of its own.
    let stack = || {
        let throttle = ThrottleLayer::per_origin("1/min burst 1".parse().unwrap());
        Stack::new().with_throttle(throttle).build().unwrap()
    };
    let polite = stack().layer(ReqwestService::from(client()));
    let response = client()
        .get(server.url("/old"))
        .send_through(&polite)
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), response.url().path()),
        (200, "/new")
    );

    let builder = reqwest::Client::builder().no_proxy();
    let http = builder
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let following = FollowRedirect::new(stack().layer(ReqwestService::from(http.clone())));
    let error = http
        .get(server.url("/old"))
        .send_through(&following)
        .await
        .unwrap_err();
    assert!(error.is_rejected());
    server.assert_calls(3);
}

#[tokio::test]
async fn reqwests_own_error_is_found_and_named() {
    let error = client()
        .post(nowhere())
        .send_through(&polite())
        .await
        .unwrap_err();
    assert!(error.find::<reqwest::Error>().unwrap().is_connect());
    assert_eq!(error.attempts(), Some(3));
    assert_eq!(
        error.to_string(),
        "call failed after 3 attempts: all allowed attempts were made (reqwest: cannot connect)",
    );
}

#[tokio::test]
async fn a_request_that_cannot_be_built_is_not_sent() {
    let error = client()
        .get("no URL")
        .send_through(&polite())
        .await
        .unwrap_err();
    assert!(error.find::<reqwest::Error>().unwrap().is_builder());
    assert_eq!(
        error.to_string(),
        "call failed (reqwest: cannot build the request)"
    );
}

#[tokio::test]
async fn a_box_client_whose_bodies_are_not_sync_will_do() {
    let server = Script::new([busy(), Answer::ok().body("done")])
        .serve()
        .await
        .unwrap();
    let polite: BoxClient<Body> = polite().boxed();
    let response = client()
        .get(server.url("/a"))
        .send_through(&polite)
        .await
        .unwrap();
    assert_eq!(
        (response.content_length(), response.retry_info().attempts()),
        (Some(4), 2)
    );
    assert_eq!(response.url().path(), "/a");
    assert_eq!(response.text().await.unwrap(), "done");
}
