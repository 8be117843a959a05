#![cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#![doc = include_str!("../docs/README.md")]
//!
//! # How these pages are made
//!
//! Each is a Markdown file in `crates/courteous/docs/`, and its code is compiled by
//! `cargo test -p courteous --all-features --doc`. A page links another one by reference,
//! `[a text][page.md]`, with `[page.md]: page.md` at its end: that is the link on a forge. Here, the
//! definitions in `src/guide/links.md` come first, so they count, and lead to the module. The tests
//! are without them, so that their line numbers are those of the file.

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/architecture.md")]
pub mod architecture {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/hyper.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`Stack`](crate::Stack), [`Courteous`](crate::Courteous),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`BoxClient`](crate::BoxClient), [`RetryInfo`](crate::retry::RetryInfo)."
)]
pub mod hyper {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/testing.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`Stack`](crate::Stack), [`BoxClient`](crate::BoxClient), [`StopReason`](crate::retry::StopReason)."
)]
pub mod testing {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/timeouts.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`TotalTimeoutLayer`](crate::timeout::TotalTimeoutLayer),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`AttemptTimeoutLayer`](crate::timeout::AttemptTimeoutLayer),"
)]
#[cfg_attr(not(doctest), doc = "[`CallTimeout`](crate::timeout::CallTimeout),")]
#[cfg_attr(
    not(doctest),
    doc = "[`PerAttemptTimeout`](crate::timeout::PerAttemptTimeout),"
)]
#[cfg_attr(not(doctest), doc = "[`IdleTimeout`](crate::timeout::IdleTimeout),")]
#[cfg_attr(
    not(doctest),
    doc = "[`Coverage`](crate::timeout::Coverage), [all of `timeout`](crate::timeout)."
)]
pub mod timeouts {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/idempotency_keys.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`IdempotencyKeyLayer`](crate::idempotency::IdempotencyKeyLayer),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`Key`](crate::idempotency::Key), [`RandomUuid`](crate::idempotency::RandomUuid),"
)]
#[cfg_attr(not(doctest), doc = "[`KeyFormat`](crate::idempotency::KeyFormat),")]
#[cfg_attr(not(doctest), doc = "[all of `idempotency`](crate::idempotency).")]
pub mod idempotency_keys {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/retry.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`RetryLayer`](crate::retry::RetryLayer),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`Backoff`](crate::retry::Backoff), [`Budget`](crate::retry::Budget),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`StopReason`](crate::retry::StopReason), [`RetryInfo`](crate::retry::RetryInfo),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`HttpClassifier`](crate::classify::HttpClassifier),"
)]
#[cfg_attr(not(doctest), doc = "[all of `retry`](crate::retry).")]
pub mod retry {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/concurrency_limit.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`ConcurrencyLimitLayer`](crate::concurrency::ConcurrencyLimitLayer),"
)]
#[cfg_attr(not(doctest), doc = "[`Limiter`](crate::concurrency::Limiter),")]
#[cfg_attr(not(doctest), doc = "[`Keyed`](crate::concurrency::Keyed),")]
#[cfg_attr(not(doctest), doc = "[all of `concurrency`](crate::concurrency).")]
pub mod concurrency_limit {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/throttle.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`ThrottleLayer`](crate::throttle::ThrottleLayer),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`Rate`](crate::throttle::Rate), [`Bucket`](crate::throttle::Bucket),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`Keyed`](crate::throttle::Keyed), [`Cost`](crate::throttle::Cost),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`Settle`](crate::throttle::Settle), [all of `throttle`](crate::throttle)."
)]
pub mod throttle {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/dead_letter.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`DeadLetterLayer`](crate::dead_letter::DeadLetterLayer),"
)]
#[cfg_attr(not(doctest), doc = "[`Redrive`](crate::dead_letter::Redrive),")]
#[cfg_attr(
    not(doctest),
    doc = "[`LetterStore`](crate::dead_letter::LetterStore),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`BodyScrubber`](crate::dead_letter::BodyScrubber),"
)]
#[cfg_attr(not(doctest), doc = "[all of `dead_letter`](crate::dead_letter).")]
pub mod dead_letter {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/order.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`Stack`](crate::Stack), [`ServiceBuilder`](crate::ServiceBuilder),"
)]
#[cfg_attr(not(doctest), doc = "[`ServiceBuilderExt`](crate::ServiceBuilderExt),")]
#[cfg_attr(not(doctest), doc = "[`LayerKind`](crate::core::LayerKind).")]
pub mod order {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/observe_only.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`ObserveOnly`](crate::core::ObserveOnly),"
)]
#[cfg_attr(not(doctest), doc = "[`Decision`](crate::core::Decision),")]
#[cfg_attr(
    not(doctest),
    doc = "[`Stack::observe_only`](crate::Stack::observe_only)."
)]
pub mod observe_only {}

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
