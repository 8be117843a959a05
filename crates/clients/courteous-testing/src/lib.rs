#![doc = include_str!("../README.md")]

mod answer;
mod asserts;
mod body;
mod call;
mod calls;
mod future;
mod invalid_answer;
mod mismatch;
mod record;
mod script;
#[cfg(feature = "server")]
mod server;
mod service;
mod unexpected_call;

pub use answer::Answer;
pub use body::ScriptBody;
pub use call::{Call, End};
pub use calls::Calls;
pub use future::ResponseFuture;
pub use invalid_answer::InvalidAnswer;
pub use mismatch::Mismatch;
pub use script::Script;
#[cfg(feature = "server")]
pub use server::ScriptServer;
pub use service::ScriptService;
pub use unexpected_call::UnexpectedCall;
