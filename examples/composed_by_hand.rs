//! A stack composed by hand, and the handles that its layers share. The example reads the handles
//! while the client works, and raises a limit while calls are waiting.
//!
//! A client fetches a hundred pages at one a second, four at a time. The gauges show that the
//! server could bear more.
//!
//! ```text
//! cargo run --example composed_by_hand
//! ```

use std::{error::Error, time::Duration};

use bytes::Bytes;
use courteous::{
    ServiceBuilder, ServiceBuilderExt,
    concurrency::{ConcurrencyLimitLayer, Limiter},
    retry::{Budget, RetryLayer},
    throttle::{Bucket, ThrottleLayer},
};
use courteous_testing::{Answer, Call, Script};
use http::{HeaderName, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::ServiceExt;

const ATTEMPT: HeaderName = HeaderName::from_static("x-attempt");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // In earnest: a server on the internet.
    let server = Script::default().then_with(page).serve().await?;

    // A handle holds the state of a layer. A clone of the handle goes into the layer, and the
    // handle stays useful here. The same handle can serve several stacks.
    let budget = Budget::builder().start(5).cap(5, 10).build()?;
    let limiter = Limiter::new(4)?;
    let bucket = Bucket::new("1/s".parse()?);
    let retry = RetryLayer::new()
        .with_budget(budget.clone())
        .with_attempt_header(ATTEMPT);
    let client = ServiceBuilder::new()
        .total_timeout(Duration::from_secs(30))
        .retry(retry)
        .concurrency_limit(ConcurrencyLimitLayer::from(limiter.clone()))
        .throttle(ThrottleLayer::from(bucket.clone()))
        .attempt_timeout(Duration::from_secs(5))
        .service(Client::builder(TokioExecutor::new()).build_http());

    let start = Instant::now();
    let mut calls = JoinSet::new();
    for number in 1..=100 {
        let request = Request::get(server.url(&format!("/pages/{number}")));
        let call = client.clone().oneshot(request.body(Empty::<Bytes>::new())?);
        calls.spawn(call);
    }
    let look = || {
        println!(
            "after {:.1} s: {} in flight, {} wait for a permit, {} for a token; {} retries so far",
            start.elapsed().as_secs_f64(),
            limiter.in_flight(),
            limiter.waiting(),
            bucket.waiting(),
            budget.retries(),
        );
    };

    sleep(Duration::from_millis(500)).await;
    look();
    // A call holds its permit while it waits for a token, so the limiter's queue is the long one.
    assert_eq!(limiter.in_flight(), 4);
    assert!(limiter.waiting() > bucket.waiting());

    // This takes effect at once, also for calls that already wait. At one a second, most of them
    // would end at their total timeout.
    bucket.set_rate("500/s".parse()?);
    limiter.set_limit(16)?;
    while let Some(call) = calls.join_next().await {
        let response = call?.map_err(courteous::Error::new)?;
        assert_eq!(response.status(), StatusCode::OK);
    }
    look();
    assert_eq!((limiter.in_flight(), bucket.waiting()), (0, 0));
    assert_eq!(budget.retries(), 5);
    Ok(())
}

/// Each twentieth page needs a second attempt.
fn page(call: &Call) -> Answer {
    let number = call.uri().path().rsplit('/').next();
    let number = number.and_then(|number| number.parse::<u32>().ok());
    match (number, call.header("x-attempt")) {
        (Some(number), Some("1")) if number % 20 == 0 => Answer::status(502),
        _ => Answer::ok(),
    }
}
