#![doc = include_str!("../README.md")]

mod account;
mod budget;
mod builder;
mod ledger;
mod settings;
mod snapshot;

pub use budget::{Budget, Payment, Receipt};
pub use builder::{BudgetBuilder, InvalidBudget};
pub use settings::BudgetSettings;
pub use snapshot::BudgetSnapshot;
