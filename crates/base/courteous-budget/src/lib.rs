#![doc = include_str!("../README.md")]

mod account;
mod all_settings;
mod budget;
mod builder;
mod invalid_budget;
mod ledger;
mod prices;
mod settings;
mod snapshot;

pub use budget::{Budget, Payment, Receipt};
pub use builder::BudgetBuilder;
pub use invalid_budget::InvalidBudget;
pub use settings::BudgetSettings;
pub use snapshot::BudgetSnapshot;
