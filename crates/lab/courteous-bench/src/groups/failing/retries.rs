use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use courteous::{
    AnyBody,
    retry::{Backoff, Budget, Jitter, RetryLayer},
};
use http::Request;
use http_body_util::Full;
use tokio::time::{Sleep, sleep};
use tower::{
    Layer, Service, ServiceExt,
    retry::{
        Policy, Retry,
        budget::{Budget as _, TpsBudget},
    },
};
use tower_resilience_retry::{RetryBudgetBuilder, RetryLayer as ResilienceRetryLayer};

use super::sick::{BYTES, Failure, Pieces, sick};
use crate::{
    contenders::OURS,
    kit::{self, Shape},
};

/// The wait before the second attempt.
const WAIT: Duration = Duration::from_millis(1);
/// A budget that never runs short.
const PLENTY: u32 = 1_000_000;

/// Spawns a task that makes one call, with a body of the given number of bytes.
pub(super) type Spawn = Box<dyn Fn(Failure, usize)>;

/// A way to retry: the contender, the kind of body, and how it retries.
pub(super) struct Contender {
    pub(super) who: &'static str,
    pub(super) body: &'static str,
    pub(super) spawn: Spawn,
}

/// A body that peers can also send again.
pub(super) const IN_MEMORY: &str = "in memory";

/// Each contender has a budget that never runs short, so that the budget's cost is included.
pub(super) fn contenders() -> Vec<Contender> {
    vec![ours(), ours_streaming(), tower(), resilience()]
}

fn ours_layer() -> RetryLayer {
    let wait = Backoff::constant(WAIT).with_jitter(Jitter::None);
    let budget = Budget::builder()
        .start(PLENTY)
        .cap(PLENTY, PLENTY)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    RetryLayer::new()
        .with_backoff(wait)
        .with_throttled_backoff(wait)
        .with_budget(budget)
        .with_body_limit(BYTES.len())
}

fn ours() -> Contender {
    let layer = ours_layer();
    Contender {
        who: OURS,
        body: IN_MEMORY,
        spawn: Box::new(move |failure, bytes| {
            spawn(layer.layer(sick(failure)), request(bytes));
        }),
    }
}

fn ours_streaming() -> Contender {
    let layer = ours_layer();
    Contender {
        who: OURS,
        body: "in pieces of 16 KiB",
        spawn: Box::new(move |failure, bytes| {
            let body = AnyBody::new(Pieces { left: bytes });
            spawn(layer.layer(sick(failure)), request(0).map(|_| body));
        }),
    }
}

fn tower() -> Contender {
    let budget = Arc::new(TpsBudget::new(Duration::from_secs(10), PLENTY, 0.2));
    Contender {
        who: "tower",
        body: IN_MEMORY,
        spawn: Box::new(move |failure, bytes| {
            let policy = Patient {
                budget: Arc::clone(&budget),
            };
            spawn(Retry::new(policy, sick(failure)), request(bytes));
        }),
    }
}

/// Retries from a budget, after a fixed wait.
#[derive(Clone)]
struct Patient {
    budget: Arc<TpsBudget>,
}

impl<RB, E> Policy<kit::Request, http::Response<RB>, E> for Patient {
    type Future = Sleep;

    fn retry(
        &mut self,
        _: &mut kit::Request,
        result: &mut Result<http::Response<RB>, E>,
    ) -> Option<Sleep> {
        match result {
            Ok(response) if !response.status().is_server_error() => {
                self.budget.deposit();
                None
            }
            _ => self.budget.withdraw().then(|| sleep(WAIT)),
        }
    }

    fn clone_request(&mut self, request: &kit::Request) -> Option<kit::Request> {
        Some(request.clone())
    }
}

fn resilience() -> Contender {
    let budget = RetryBudgetBuilder::new()
        .token_bucket()
        .max_tokens(PLENTY as usize)
        .initial_tokens(PLENTY as usize)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let layer = ResilienceRetryLayer::builder()
        .max_attempts(3)
        .fixed_backoff(WAIT)
        .retry_on_response(|response: &http::Response<Full<Bytes>>| {
            response.status().is_server_error()
        })
        .budget(budget)
        .build();
    Contender {
        who: "tower-resilience",
        body: IN_MEMORY,
        spawn: Box::new(move |failure, bytes| {
            spawn(layer.layer(sick(failure)), request(bytes));
        }),
    }
}

fn request(bytes: usize) -> kit::Request {
    let body = Bytes::from_static(&BYTES[..bytes]);
    Shape::Realistic.request(true).map(|_| Full::from(body))
}

fn spawn<S, B>(service: S, request: Request<B>)
where
    S: Service<Request<B>, Future: Send, Response: Send, Error: Send> + Send + 'static,
    B: Send + 'static,
{
    drop(tokio::spawn(async move {
        assert!(service.oneshot(request).await.is_ok(), "the call failed");
    }));
}
