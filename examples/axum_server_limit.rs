//! A limit in front of an axum server. Requests beyond the limit are answered at once with 503 and
//! `Retry-After`.
//!
//! The layers are made for clients, and also fit a server as they are. A rejection is an error by
//! default. [`reject_with`] turns it into a response, so that the service's error stays
//! `Infallible`, as axum's `Router::layer` requires.
//!
//! ```text
//! cargo run --example axum_server_limit
//! ```
//!
//! [`reject_with`]: courteous::concurrency::ConcurrencyLimitLayer::reject_with

mod common;

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use courteous::{
    concurrency::{ConcurrencyLimitLayer, Limiter},
    core::Rejected,
};
use http::{Request, StatusCode, header::RETRY_AFTER};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{sync::Semaphore, task::JoinSet};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Two requests are processed, and two may wait.
    let limiter = Limiter::new(2)?;
    let limit = ConcurrencyLimitLayer::from(limiter.clone())
        .with_max_waiting(2)
        .with_max_wait(Duration::from_secs(10))
        .reject_with(busy);

    // The work is done when this example says so.
    let done = Arc::new(Semaphore::new(0));
    let work = Arc::clone(&done);
    let report = async move || {
        if let Ok(permit) = work.acquire().await {
            permit.forget();
        }
        "the report"
    };
    let router = Router::new().route("/report", get(report)).layer(limit);
    let server = common::serve(router).await?;

    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let request = Request::get(format!("http://{server}/report"));
        calls.spawn(client.request(request.body(Empty::<Bytes>::new())?));
    }

    // Four more are too many, and are rejected while the other four are still there.
    for _ in 0..4 {
        let response = calls.join_next().await.ok_or("eight calls")???;
        let seconds = response.headers()[RETRY_AFTER].to_str()?;
        println!("{}, to be tried again in {seconds} s", response.status());
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(seconds, "1");
    }
    println!(
        "{} at work, {} waiting",
        limiter.in_flight(),
        limiter.waiting()
    );
    assert_eq!((limiter.in_flight(), limiter.waiting()), (2, 2));

    done.add_permits(4);
    while let Some(call) = calls.join_next().await {
        let response = call??;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.collect().await?.to_bytes(), "the report");
        println!("200 OK");
    }
    Ok(())
}

/// The answer to a client when the server has enough to do.
///
/// A throttle knows when there will be room. A concurrency limit does not, as that depends on the
/// work, so its answer says one second.
fn busy(rejected: &Rejected) -> Response<Body> {
    let seconds = rejected.wait().map_or(1, |wait| wait.as_secs() + 1);
    let retry_after = [(RETRY_AFTER, seconds.to_string())];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after, "busy\n").into_response()
}
