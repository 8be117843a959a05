//! What [`Stack`](crate::Stack) makes: its layer, its error, and what tells of it.

pub(crate) mod builder;
mod invalid_stack;
mod layer;
pub(crate) mod layers;
pub(crate) mod service;
mod settings;
pub(crate) mod snapshot;

pub use invalid_stack::InvalidStack;
pub use layer::StackLayer;
pub use settings::Settings;
pub use snapshot::{DecisionSnapshot, ObserveSnapshot, Snapshot};
