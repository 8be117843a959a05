use std::time::Duration;

use tower::{Layer, util::MapRequestLayer};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_retry::{RetryBudgetBuilder, RetryLayer};
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::{Kind, Visit, Who, tower::with_key};
use crate::kit::Request;

const WHO: &str = "tower-resilience";

pub(super) fn visit<V: Visit>(visit: &mut V) {
    let limit = BulkheadLayer::builder()
        .max_concurrent_calls(1024)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    // `burst` is its token bucket, which is what ours is.
    let throttle = RateLimiterLayer::burst(100_000_000, 1_000_000)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let total = TimeLimiterLayer::builder()
        .timeout_duration(Duration::from_secs(30))
        .build();
    let attempt = TimeLimiterLayer::builder()
        .timeout_duration(Duration::from_secs(10))
        .build();
    let key = MapRequestLayer::new(with_key);
    visit.visit(Who::new(Kind::Concurrency, WHO), |inner| limit.layer(inner));
    visit.visit(Who::new(Kind::Throttle, WHO), |inner| throttle.layer(inner));
    visit.visit(Who::new(Kind::Retry, WHO), |inner| retry().layer(inner));
    visit.visit(Who::new(Kind::TotalTimeout, WHO), |inner| {
        total.layer(inner)
    });
    visit.visit(Who::new(Kind::AttemptTimeout, WHO), |inner| {
        attempt.layer(inner)
    });
    visit.visit(Who::new(Kind::Five, WHO), |inner| {
        let limited = limit.layer(throttle.layer(inner));
        key.layer(total.layer(retry().layer(limited)))
    });
}

fn retry<RB, E>() -> RetryLayer<Request, http::Response<RB>, E> {
    let budget = RetryBudgetBuilder::new()
        .token_bucket()
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    RetryLayer::builder()
        .max_attempts(3)
        .exponential_backoff(Duration::from_millis(100))
        .retry_on_response(|response: &http::Response<RB>| response.status().is_server_error())
        .budget(budget)
        .build()
}
