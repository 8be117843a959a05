//! A retry that stands around an adaptive limit, and trusts it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use courteous::{
    BoxError, ServiceBuilder, ServiceBuilderExt,
    concurrency::adaptive::{AdaptiveLimitLayer, AdaptiveLimiter, Pressure},
    core::{CallContext, RejectReason, Rejected, Retried, StopReason},
    find_cause,
    retry::{Budget, RetryLayer},
};
use courteous_testkit::{Probe, Reply};
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{ServiceExt, util::BoxCloneService};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

type Body = Full<Bytes>;
type Client = BoxCloneService<Request<Body>, Response<()>, BoxError>;

/// Ten attempts at most, of half a second each, around a limit that the caller can read.
fn client(probe: &Probe, budget: &Budget, is_trusted: bool) -> (Client, AdaptiveLimiter) {
    let limiter = AdaptiveLimiter::new();
    let mut retry = RetryLayer::new()
        .with_max_attempts(10)
        .unwrap()
        .with_budget(budget.clone());
    if is_trusted {
        retry = retry.with_adaptive_limit_inside();
    }
    let client = ServiceBuilder::new()
        .retry(retry)
        .layer(AdaptiveLimitLayer::from(limiter.clone()))
        .attempt_timeout(500 * MS)
        .service(probe.clone());
    let client = ServiceExt::<Request<Body>>::map_response(client, head);
    (BoxCloneService::new(client), limiter)
}

fn head<B>(response: Response<B>) -> Response<()> {
    response.map(drop)
}

fn get() -> Request<Body> {
    Request::get("http://api.example/")
        .body(Body::default())
        .unwrap()
}

fn answer() -> Reply {
    Reply::ok().after(50 * MS)
}

async fn calls(client: &Client, calls: usize) {
    for _ in 0..calls {
        client.clone().oneshot(get()).await.unwrap();
        sleep(50 * MS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_calm_a_success_deposits_a_token_and_silence_costs_one() {
    for (is_trusted, success, retried) in [(true, 1.0, 0.0), (false, 0.2, -1.8)] {
        let probe = Probe::new().otherwise(|_| answer());
        let budget = Budget::builder().start(50).cap(100, 100).build().unwrap();
        let (client, _) = client(&probe, &budget, is_trusted);
        calls(&client, 20).await;
        let before = budget.balance();
        calls(&client, 1).await;
        assert!(
            (budget.balance() - before - success).abs() < 1e-6,
            "{is_trusted}"
        );
        let before = budget.balance();
        probe.script([Reply::never()]);
        calls(&client, 1).await;
        assert!(
            (budget.balance() - before - retried).abs() < 1e-6,
            "{is_trusted}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_not_calm_there_is_no_retry_after_silence() {
    let probe = Probe::new().otherwise(|_| answer());
    let budget = Budget::builder().start(100).cap(100, 100).build().unwrap();
    let (client, limiter) = client(&probe, &budget, true);
    calls(&client, 20).await;
    // Most attempts fail for a while.
    probe.script((0..8).map(|_| Reply::status(503)));
    let error = client.clone().oneshot(get()).await;
    drop(error);
    assert_eq!(limiter.pressure(), Pressure::Overloaded);
    let before = probe.calls();
    probe.script([Reply::never(), answer()]);
    let error = client.clone().oneshot(get()).await.unwrap_err();
    assert_eq!(probe.calls(), before + 1);
    let stop = find_cause::<Retried>(&*error).map(|retried| retried.info().stop_reason());
    assert_eq!(stop, Some(StopReason::BudgetExhausted));
}

#[tokio::test(start_paused = true)]
async fn after_a_503_calls_come_back_after_half_a_second_to_two() {
    let probe = Probe::new().otherwise(|_| answer());
    let (client, _) = client(&probe, &Budget::unlimited(), true);
    calls(&client, 20).await;
    for _ in 0..20 {
        probe.script([Reply::status(503), Reply::status(503), answer()]);
        let before = probe.instants().len();
        client.clone().oneshot(get()).await.unwrap();
        let instants = probe.instants();
        for pair in instants[before..].windows(2) {
            let wait = pair[1] - pair[0];
            assert!((499 * MS..4 * SECOND).contains(&wait), "{wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_limit_rejects_makes_no_attempt_pays_nothing_and_is_not_retried() {
    let probe = Probe::new().otherwise(|_| answer());
    let budget = Budget::new();
    let (client, limiter) = client(&probe, &budget, true);
    calls(&client, 5).await;
    limiter.pin(0.0).unwrap();
    let (start, before, balance) = (Instant::now(), probe.calls(), budget.balance());
    let mut request = get();
    let deadline = Instant::now() + SECOND;
    CallContext::edit(request.extensions_mut()).tighten(deadline);
    // The first token is there; a second is not for ten seconds.
    let first = client.clone().oneshot(request.clone()).await;
    drop(first);
    let error = client.clone().oneshot(request).await.unwrap_err();
    let reason = find_cause::<Rejected>(&*error).map(Rejected::reason);
    assert_eq!(reason, Some(RejectReason::Overloaded));
    assert!(probe.calls() <= before + 1 && start.elapsed() < SECOND);
    assert!(budget.balance() >= balance);
}
