//! A retry that only observes: what it tells, and that it changes nothing.

use courteous_core::{BoxError, CallRecord, Decision, Idempotent, ObserveOnly, Upload};
use http::HeaderMap;

use super::*;

const AFTER: HeaderName = HeaderName::from_static("x-attempt");

/// An outcome of each kind, in turn.
fn replies() -> Vec<Reply> {
    vec![
        Reply::ok(),
        Reply::status(503),
        Reply::status(404),
        Reply::error(),
        Reply::status(429).header("retry-after", "2"),
        Reply::status(501),
        Reply::status(503).header("x-should-retry", "false"),
        Reply::status(503).header("retry-after", "3600"),
        Reply::ok(),
    ]
}

type Answered = (
    Duration,
    Result<(StatusCode, HeaderMap, usize, Vec<u8>), String>,
);

/// Calls in a row, and what each of them came to.
async fn run<S, RB>(service: S) -> Vec<Answered>
where
    S: Service<Request<Body>, Response = Response<RB>, Error: Into<BoxError>> + Clone,
    RB: http_body::Body<Error: std::fmt::Debug>,
{
    let mut answered = Vec::new();
    for method in [Method::GET, Method::PUT, Method::POST]
        .into_iter()
        .cycle()
        .take(9)
    {
        let start = Instant::now();
        let answer = match service.clone().oneshot(request(method)).await {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes().to_vec();
                Ok((parts.status, parts.headers, parts.extensions.len(), body))
            }
            Err(error) => Err(error.into().to_string()),
        };
        answered.push((start.elapsed(), answer));
    }
    answered
}

#[tokio::test(start_paused = true)]
async fn an_observed_run_is_the_run_without_the_layer() {
    let bare = Probe::new().replies(replies());
    let without = run(bare.clone()).await;
    let (switch, probe) = (ObserveOnly::new(), Probe::new().replies(replies()));
    let hook = |_: &courteous_retry::RetryEvent<'_>| panic!("no retry is made");
    let budget = Budget::unlimited();
    let layer = steady()
        .with_budget(budget)
        .with_attempt_header(AFTER)
        .with_on_retry(hook);
    let layer = layer.observe_only(switch.clone());
    assert_eq!(run(layer.layer(probe.clone())).await, without);
    for (seen, bare) in probe.seen().iter().zip(bare.seen()) {
        assert_eq!((&seen.method, &seen.uri), (&bare.method, &bare.uri));
        assert_eq!(seen.headers, bare.headers);
        // Of a body that streams, a timeout further in may know how it goes out.
        let upload = usize::from(seen.extensions.get::<Upload>().is_some());
        assert_eq!(seen.extensions.len() - upload, bare.extensions.len());
    }
    assert_eq!(probe.calls(), 9);
    assert_eq!(layer.budget().retries(), 0);

    // As many as an enforced run retries, if each call meets the same server.
    let enforced = steady().with_budget(Budget::unlimited());
    let mut retried = 0;
    for (i, reply) in replies().into_iter().enumerate() {
        let probe = Probe::new().replies([reply, Reply::ok()]);
        let method = [Method::GET, Method::PUT, Method::POST][i % 3].clone();
        let _ = send(&enforced.layer(probe.clone()), request(method)).await;
        retried += probe.calls() as u64 - 1;
    }
    assert_eq!(switch.count(Decision::Retry), retried);
    assert_eq!(switch.count(Decision::BudgetReject), 0);
}

/// So that an enforced timeout further in does not end an upload that makes progress.
#[tokio::test(start_paused = true)]
async fn an_upload_is_watched_though_it_may_have_one_attempt_and_the_callers_word_is_told() {
    let one = steady().with_max_attempts(1).unwrap();
    for (layer, no_retry) in [(steady(), false), (steady(), true), (one, false)] {
        let (probe, record) = (Probe::new(), CallRecord::new());
        let mut request = Request::post("http://api.test/")
            .extension(Idempotent(true))
            .extension(record.clone())
            .body(TestBody::new().chunk("data").boxed_unsync())
            .unwrap();
        if no_retry {
            request.extensions_mut().insert(NoRetry);
        }
        let service = layer.observe_only(true).layer(probe.clone());
        send(&service, request).await.unwrap();
        assert!(probe.seen()[0].extensions.get::<Upload>().is_some());
        assert_eq!(record.idempotent(), Some(true));
    }
}

#[test]
fn clones_with_other_settings_share_the_number_of_attempts_until_they_have_their_own() {
    let base = steady();
    let other = base.clone().with_body_limit(1);
    let own = base.clone().with_max_attempts(4).unwrap();
    other.set_max_attempts(2).unwrap();
    let attempts = [&base, &other, &own].map(|layer| layer.settings().max_attempts);
    assert_eq!(attempts.map(|attempts| attempts.unwrap().get()), [2, 2, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_its_own_is_charged_once_for_each_call_that_would_have_been_retried() {
    let budget = Budget::new();
    let switch = ObserveOnly::new();
    let layer = steady().with_budget(budget.clone());
    let layer = layer.observe_only(switch.clone());
    let probe = Probe::new().otherwise(|seen| match seen.uri.path() {
        "/well" => Reply::ok(),
        _ => Reply::status(503),
    });
    let service = layer.layer(probe.clone());
    let start = budget.balance();
    let mut calls = 0;
    while switch.count(Decision::BudgetReject) == 0 {
        send(&service, request(Method::GET)).await.unwrap();
        calls += 1;
    }
    assert_eq!(switch.count(Decision::Retry) as f64, start);
    assert_eq!(probe.calls(), calls);
    let observed = budget.observed();
    assert_eq!(observed.retries(), switch.count(Decision::Retry));
    assert_eq!((observed.balance(), observed.rejections()), (0.0, 1));
    assert_eq!((budget.balance(), budget.retries()), (start, 0));

    for _ in 0..5 {
        let mut well = request(Method::GET);
        *well.uri_mut() = "http://api.test/well".parse().unwrap();
        send(&service, well).await.unwrap();
    }
    assert_eq!(observed.balance(), 1.0);
    assert_eq!(budget.balance(), start);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_a_used_up_body_are_as_good_a_reason_as_ever() {
    let switch = ObserveOnly::new();
    let layer = steady().observe_only(switch.clone());
    let service = layer.layer(Probe::new().otherwise(|_| Reply::status(503)));
    let mut late = request(Method::GET);
    CallContext::edit(late.extensions_mut()).tighten(Instant::now() + Duration::from_millis(50));
    send(&service, late).await.unwrap();
    let mut once = request(Method::GET);
    once.extensions_mut().insert(NoRetry);
    send(&service, once).await.unwrap();
    send(&service, request(Method::POST)).await.unwrap();
    assert_eq!(switch.count(Decision::Retry), 0);
    send(&service, keyed()).await.unwrap();
    assert_eq!(switch.count(Decision::Retry), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_limit_would_have_been_waited_for_at_no_charge() {
    let switch = ObserveOnly::new();
    let layer = steady().observe_only(switch.clone());
    let opens = Instant::now() + Duration::from_secs(2);
    let probe = Probe::new().replies([closed_until(opens)]);
    let error = send(&layer.layer(probe.clone()), request(Method::GET))
        .await
        .unwrap_err();
    assert!(find_cause::<Rejected>(&*error).is_some());
    assert!(find_cause::<courteous_retry::Retried>(&*error).is_none());
    assert_eq!(switch.count(Decision::Retry), 1);
    assert_eq!(layer.budget().observed().retries(), 0);
}

#[tokio::test(start_paused = true)]
async fn retries_are_made_from_the_moment_the_switch_is_off() {
    let switch = ObserveOnly::new();
    let layer = steady().observe_only(switch.clone());
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let service = layer.layer(probe.clone());
    send(&service, request(Method::GET)).await.unwrap();
    assert_eq!(probe.calls(), 1);
    layer.observe_only_switch().unwrap().set(false);
    let response = send(&service, request(Method::GET)).await.unwrap();
    assert_eq!(RetryInfo::of(&response).attempts(), 3);
    assert_eq!(probe.calls(), 4);
    assert_eq!(switch.count(Decision::Retry), 1);
}
