//! Facade.

mod builder;
#[cfg(feature = "retry")]
mod check;
mod error;
#[cfg(all(
    feature = "concurrency",
    feature = "idempotency",
    feature = "retry",
    feature = "throttle",
    feature = "timeout"
))]
mod service;
#[cfg(all(
    feature = "concurrency",
    feature = "idempotency",
    feature = "retry",
    feature = "throttle",
    feature = "timeout"
))]
mod stack;

pub use builder::{ServiceBuilder, ServiceBuilderExt};
#[cfg(feature = "retry")]
pub use check::{CloneService, HttpService, check};
pub use courteous_core::{
    BoxError, CallContext, CallId, Classified, Classify, Effect, Elapsed, Fault, Gate, Origin,
    Outcome, RejectReason, Rejected, RequestView, ResponseHead, Scope, Verdict, find_cause,
};
pub use error::Error;
#[cfg(all(
    feature = "concurrency",
    feature = "idempotency",
    feature = "retry",
    feature = "throttle",
    feature = "timeout"
))]
pub use {
    service::{Courteous, ResponseFuture},
    stack::{InvalidStack, Stack, StackLayer},
};

#[cfg(feature = "concurrency")]
pub use courteous_concurrency as concurrency;
#[cfg(feature = "idempotency")]
pub use courteous_idempotency as idempotency;
#[cfg(feature = "throttle")]
pub use courteous_throttle as throttle;
#[cfg(feature = "timeout")]
pub use courteous_timeout as timeout;
#[cfg(feature = "retry")]
pub use {courteous_replay as replay, courteous_retry as retry};

#[cfg(feature = "concurrency")]
pub use courteous_concurrency::{ConcurrencyLimitLayer, Limiter, Limiters};
#[cfg(feature = "idempotency")]
pub use courteous_idempotency::IdempotencyKeyLayer;
#[cfg(feature = "reqwest")]
pub use courteous_reqwest::ReqwestService;
#[cfg(feature = "retry")]
pub use courteous_retry::{
    Backoff, Budget, Idempotent, Jitter, MaxAttempts, NoRetry, RetryInfo, RetryLayer, StopReason,
};
#[cfg(feature = "throttle")]
pub use courteous_throttle::{Bucket, Cost, Rate, ThrottleLayer};
#[cfg(feature = "timeout")]
pub use courteous_timeout::{
    AttemptTimeoutLayer, CallTimeout, PerAttemptTimeout, TotalTimeoutLayer,
};
