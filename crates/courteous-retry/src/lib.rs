//! Retry.

mod budget;
mod budget_builder;
mod call;
mod classifier;
mod drain;
mod error;
mod event;
mod future;
mod info;
mod layer;
mod ledger;
mod overrides;
mod policy;
mod service;
mod settings;

pub use budget::Budget;
pub use budget_builder::{BudgetBuilder, InvalidBudget};
pub use classifier::HttpClassifier;
pub use courteous_backoff::{Backoff, InvalidBackoff, Jitter};
pub use error::Retried;
pub use event::RetryEvent;
pub use future::ResponseFuture;
pub use info::{RetryInfo, StopReason};
pub use layer::RetryLayer;
pub use overrides::{Idempotent, MaxAttempts, NoRetry};
pub use service::Retry;
