use std::time::Duration;

use courteous_clients::octocrab_recipe::client;
use http::Response;
use octocrab::{AuthState, Octocrab};
use serde_json::json;
use tokio::time::Instant;

use crate::server::{Answer, Server};

fn answer(status: u16, fields: &[(&'static str, &'static str)]) -> Answer {
    let body = match status {
        200 => {
            json!({ "id": 1, "name": "tower", "url": "https://api.github.com/repos/tower-rs/tower" })
        }
        _ => json!({ "message": "no", "documentation_url": "https://docs.github.com/rest" }),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    Some(response.body(body.to_string()).unwrap())
}

fn octocrab(server: &Server) -> Octocrab {
    let token = String::from("token").into();
    client(server.uri(), AuthState::AccessToken { token }).unwrap()
}

/// A call that GitHub refuses with `fields`, and how long another one is to be put off.
async fn put_off(fields: &[(&'static str, &'static str)]) -> Duration {
    let server = Server::start([answer(403, fields), answer(200, &[])]).await;
    let octocrab = octocrab(&server);
    let get = async || octocrab.repos("tower-rs", "tower").get().await;

    // The caller gets GitHub's own answer: the pause is longer than the call may take.
    let octocrab::Error::GitHub { source, .. } = get().await.unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(source.status_code, 403);

    // And no further request is sent to be refused.
    let error = courteous::Error::new(get().await.unwrap_err());
    assert!(error.is_rejected());
    assert_eq!(server.seen().len(), 1);
    error.not_before().unwrap() - Instant::now()
}

#[tokio::test]
async fn a_repository_is_asked_for_again_after_a_502() {
    let server = Server::start([answer(502, &[]), answer(200, &[])]).await;
    let repository = octocrab(&server).repos("tower-rs", "tower").get().await;
    assert_eq!(repository.unwrap().name, "tower");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    for (head, _) in seen {
        assert_eq!(head.uri.path(), "/repos/tower-rs/tower");
        assert_eq!(head.headers["authorization"], "Bearer token");
        assert_eq!(head.headers["user-agent"], "my-tool");
    }
}

#[tokio::test]
async fn an_issue_is_not_made_twice_after_a_502() {
    let server = Server::start([answer(502, &[]), answer(200, &[])]).await;
    let issue = octocrab(&server)
        .issues("tower-rs", "tower")
        .create("a title")
        .send()
        .await;
    assert!(
        matches!(issue, Err(octocrab::Error::GitHub { source, .. }) if source.status_code == 502)
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_secondary_limit_is_obeyed() {
    let pause = put_off(&[("retry-after", "60")]).await;
    assert!(pause > Duration::from_secs(50), "{pause:?}");
    assert!(pause < Duration::from_secs(62), "{pause:?}");
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_obeyed() {
    let quota = [
        ("date", "Thu, 26 Mar 2026 15:00:00 GMT"),
        ("x-ratelimit-limit", "5000"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1774539000"), // half an hour later
    ];
    let pause = put_off(&quota).await;
    assert!(pause > Duration::from_secs(1790), "{pause:?}");
    assert!(pause < Duration::from_secs(1803), "{pause:?}");
}

#[tokio::test]
async fn a_short_pause_is_waited_for() {
    let server = Server::start([answer(403, &[("retry-after", "1")]), answer(200, &[])]).await;
    let start = Instant::now();
    let repository = octocrab(&server).repos("tower-rs", "tower").get().await;
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        (repository.unwrap().name.as_str(), server.seen().len()),
        ("tower", 2)
    );
}
