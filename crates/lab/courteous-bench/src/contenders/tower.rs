use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method};
use tokio::time::Sleep;
use tower::{
    Layer, ServiceBuilder,
    buffer::Buffer,
    limit::{ConcurrencyLimitLayer, RateLimitLayer},
    retry::{
        Policy, RetryLayer,
        backoff::{Backoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff},
        budget::{Budget, TpsBudget},
    },
    timeout::TimeoutLayer,
    util::MapRequestLayer,
};
use uuid::Uuid;

use super::{Kind, Visit, Who};
use crate::kit::{KEY, Request};

const WHO: &str = "tower";

pub(super) fn visit<V: Visit>(visit: &mut V) {
    let limit = ConcurrencyLimitLayer::new(1024);
    let timeout = TimeoutLayer::new(Duration::from_secs(30));
    let attempt = TimeoutLayer::new(Duration::from_secs(10));
    let retry = RetryLayer::new(Standard::new());
    let key = MapRequestLayer::new(with_key);
    // Without a buffer, each clone would have its own rate.
    let shared = RateLimitLayer::new(100_000_000, Duration::from_secs(1));
    let throttle = |inner: V::Client| Buffer::new(shared.layer(inner), 1024);
    visit.visit(Who::new(Kind::Concurrency, WHO), |inner| limit.layer(inner));
    visit.visit(
        Who::new(Kind::Throttle, "tower: Buffer + RateLimit").with_task(),
        throttle,
    );
    visit.visit(Who::new(Kind::Retry, WHO), |inner| retry.layer(inner));
    visit.visit(Who::new(Kind::Key, "by hand, `Uuid::new_v4`"), |inner| {
        key.layer(inner)
    });
    visit.visit(Who::new(Kind::TotalTimeout, WHO), |inner| {
        timeout.layer(inner)
    });
    visit.visit(Who::new(Kind::AttemptTimeout, WHO), |inner| {
        attempt.layer(inner)
    });
    visit.visit(Who::new(Kind::Five, WHO).with_task(), |inner| {
        ServiceBuilder::new()
            .layer(&key)
            .layer(&timeout)
            .layer(&retry)
            .layer(&limit)
            .service(throttle(inner))
    });
}

/// What users without a layer for it write.
pub(super) fn with_key(mut request: Request) -> Request {
    if request.method() == Method::POST && !request.headers().contains_key(KEY) {
        let key = Uuid::new_v4().to_string();
        if let Ok(key) = HeaderValue::try_from(key) {
            request.headers_mut().insert(KEY, key);
        }
    }
    request
}

/// A policy as in tower's own documentation: up to two more attempts after an error or a 5xx, from a budget, with backoff.
#[derive(Clone)]
pub(super) struct Standard {
    budget: Arc<TpsBudget>,
    backoff: ExponentialBackoff,
    left: usize,
}

impl Standard {
    pub(super) fn new() -> Self {
        Self {
            budget: Arc::default(),
            backoff: ExponentialBackoffMaker::default().make_backoff(),
            left: 2,
        }
    }
}

impl<RB, E> Policy<Request, http::Response<RB>, E> for Standard {
    type Future = Sleep;

    fn retry(
        &mut self,
        _: &mut Request,
        result: &mut Result<http::Response<RB>, E>,
    ) -> Option<Sleep> {
        match result {
            Ok(response) if !response.status().is_server_error() => {
                self.budget.deposit();
                None
            }
            _ if self.left == 0 || !self.budget.withdraw() => None,
            _ => {
                self.left -= 1;
                Some(self.backoff.next_backoff())
            }
        }
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}
