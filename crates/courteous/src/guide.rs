#![cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#![doc = include_str!("../docs/README.md")]
//!
//! # How these pages are made
//!
//! Each is a Markdown file in `crates/courteous/docs/`, and its code is compiled by
//! `cargo test -p courteous --all-features --doc`. A page links another one by reference,
//! `[a text][page.md]`, with `[page.md]: page.md` at its end: that is the link on a forge. Here, the
//! definitions in `src/guide/links.md` come first, so they count, and lead to the module. The tests
//! are without them, so that their line numbers are those of the file. A module re-exports what its
//! page is about, so that rustdoc links it.

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/hyper.md")]
pub mod hyper {
    #[doc(no_inline)]
    pub use crate::{AnyBody, BoxClient, Courteous, Error, Stack, retry::RetryInfo};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/reqwest.md")]
pub mod reqwest {
    #[doc(no_inline)]
    pub use crate::{
        Stack,
        reqwest::{ReadRetryInfo, ReqwestService, SendThrough, into_http},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/tonic.md")]
pub mod tonic {
    #[doc(no_inline)]
    pub use crate::{
        Stack,
        retry::Idempotent,
        tonic::{GrpcStatus, GrpcStatusLayer},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/axum.md")]
pub mod axum {
    #[doc(no_inline)]
    pub use crate::{Courteous, Error, concurrency::ConcurrencyLimitLayer, timeout::CallTimeout};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/kube.md")]
pub mod kube {
    #[doc(no_inline)]
    pub use crate::{ServiceBuilderExt, Stack, timeout::AttemptTimeoutLayer};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/octocrab.md")]
pub mod octocrab {
    #[doc(no_inline)]
    pub use crate::{ServiceBuilder, ServiceBuilderExt, Stack};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/streams.md")]
pub mod streams {
    #[doc(no_inline)]
    pub use crate::{
        Stack,
        core::LongLived,
        timeout::{Coverage, IdleTimeout},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/llm.md")]
pub mod llm {
    #[doc(no_inline)]
    pub use crate::{
        Stack,
        throttle::{Bucket, Cost, Settle, ThrottleLayer},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/payments.md")]
pub mod payments {
    #[doc(no_inline)]
    pub use crate::{
        dead_letter::{DeadLetterLayer, DeadLettered, SqliteStore, Tags},
        idempotency::{IdempotencyKeyLayer, Key},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/redrive.md")]
pub mod redrive {
    #[doc(no_inline)]
    pub use crate::dead_letter::{Redrive, Secrets, Summary};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/crawler.md")]
pub mod crawler {
    #[doc(no_inline)]
    pub use crate::{concurrency::ConcurrencyLimitLayer, retry::Budget, throttle::ThrottleLayer};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/shared_quota.md")]
pub mod shared_quota {
    #[doc(no_inline)]
    pub use crate::throttle::redis::{Redis, RedisBucket, RedisPerOrigin};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/timeouts.md")]
pub mod timeouts {
    #[doc(no_inline)]
    pub use crate::timeout::{
        AttemptTimeoutLayer, CallTimeout, Coverage, IdleTimeout, PerAttemptTimeout,
        TotalTimeoutLayer,
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/idempotency_keys.md")]
pub mod idempotency_keys {
    #[doc(no_inline)]
    pub use crate::idempotency::{IdempotencyKeyLayer, Key, KeyFormat, RandomUuid};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/retry.md")]
pub mod retry {
    #[doc(no_inline)]
    pub use crate::{
        classify::HttpClassifier,
        retry::{Backoff, Budget, RetryInfo, RetryLayer, StopReason},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/concurrency_limit.md")]
pub mod concurrency_limit {
    #[doc(no_inline)]
    pub use crate::concurrency::{ConcurrencyLimitLayer, Keyed, Limiter};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/throttle.md")]
pub mod throttle {
    #[doc(no_inline)]
    pub use crate::throttle::{Bucket, Cost, Keyed, Rate, Settle, ThrottleLayer};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/dead_letter.md")]
pub mod dead_letter {
    #[doc(no_inline)]
    pub use crate::dead_letter::{BodyScrubber, DeadLetterLayer, LetterStore, Redrive};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/order.md")]
pub mod order {
    #[doc(no_inline)]
    pub use crate::{ServiceBuilder, ServiceBuilderExt, Stack, core::LayerKind};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/observe_only.md")]
pub mod observe_only {
    #[doc(no_inline)]
    pub use crate::{
        Stack,
        core::{Decision, ObserveOnly},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/not_retried.md")]
pub mod not_retried {
    #[doc(no_inline)]
    pub use crate::{
        Error,
        core::{RejectReason, Rejected},
        retry::{RetryInfo, StopReason},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/operating.md")]
pub mod operating {
    #[doc(no_inline)]
    pub use crate::{
        Courteous,
        stack::{Settings, Snapshot},
    };
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/defaults.md")]
pub mod defaults {
    #[doc(no_inline)]
    pub use crate::Stack;
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/testing.md")]
pub mod testing {
    #[doc(no_inline)]
    pub use crate::{BoxClient, Stack, retry::StopReason};
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/runtimes.md")]
pub mod runtimes {
    #[doc(no_inline)]
    pub use crate::core::NoRuntime;
}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/architecture.md")]
pub mod architecture {}

// Its code is tested in courteous-bench, where the peers are.
#[cfg(not(doctest))]
#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/from_backon.md")]
pub mod from_backon {}

// Its code is tested in courteous-bench, where the peers are.
#[cfg(not(doctest))]
#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/from_governor.md")]
pub mod from_governor {}

// Its code is tested in courteous-bench, where the peers are.
#[cfg(not(doctest))]
#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/from_reqwest_middleware.md")]
pub mod from_reqwest_middleware {}

// Its code is tested in courteous-bench, where the peers are.
#[cfg(not(doctest))]
#[doc = include_str!("guide/links.md")]
#[doc = include_str!("../docs/from_tower.md")]
pub mod from_tower {}
