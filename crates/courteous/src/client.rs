//! The types of a client: what [`check`](crate::check) asks of it, its future and its bodies, and its end.
//!
//! The client itself is [`Courteous`](crate::Courteous), or [`BoxClient`](crate::BoxClient).

#[cfg(feature = "stack")]
pub(crate) mod box_body;
#[cfg(feature = "stack")]
pub(crate) mod box_client;
pub mod close;
#[cfg(feature = "stack")]
mod response;
#[cfg(feature = "stack")]
pub(crate) mod sending;

#[cfg(feature = "retry")]
pub use crate::check::{CloneService, HttpService, ServiceError};
pub use close::{closer::Closer, layer::CloseLayer, unfinished::Unfinished};
#[cfg(feature = "stack")]
pub use {
    box_body::BoxBody,
    response::{ResponseBody, ResponseFuture},
};
