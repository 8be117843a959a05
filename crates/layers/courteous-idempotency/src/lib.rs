//! A tower layer that gives each call one idempotency key, so that sending it again does not do it
//! again.
//!
//! ```text
//! POST /payments ---> idempotency key ---> retry -+-> attempt 1   Idempotency-Key: 8e03978e-...
//!                      (drawn once)               +-> attempt 2   Idempotency-Key: 8e03978e-...
//! ```
//!
//! A server that knows of such keys answers the second attempt with the first one's result, and
//! takes no second payment. `POST` and `PATCH` requests get a key, as these are the methods that
//! are not idempotent by themselves. A key that the caller has set is never touched. A blank field is
//! no key, and is replaced. A field that holds anything else is rejected before anything is sent.
//!
//! # Example
//!
//! ```
//! use courteous_idempotency::IdempotencyKeyLayer;
//! use courteous_testing::Script;
//! use http::Request;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let server = Script::always(200).service(); // in place of a client
//! let client = IdempotencyKeyLayer::new().layer(server.clone());
//!
//! let payment = Request::post("https://api.example.com/payments").body(String::new()).unwrap();
//! client.clone().oneshot(payment).await.unwrap();
//! assert_eq!(server.calls()[0].key().map(str::len), Some(36));
//!
//! let look = Request::get("https://api.example.com/payments").body(String::new()).unwrap();
//! client.oneshot(look).await.unwrap();
//! assert!(server.calls()[1].headers().is_empty());
//! # }
//! ```
//!
//! For one provider only, under its own name, with keys that survive a crash:
//!
//! ```
//! # use courteous_testing::Script;
//! # use http::{HeaderName, Request};
//! # use tower::{BoxError, Layer, ServiceExt};
//! use courteous_idempotency::{Generator, IdempotencyKeyLayer, Key, RandomUuid};
//!
//! #[derive(Clone)]
//! struct OrderNumber(u32);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let server = Script::always(200).service(); // in place of a client
//! let layer = IdempotencyKeyLayer::new()
//!     .with_header(HeaderName::from_static("paypal-request-id"))
//!     .with_hosts(["*.paypal.com"])?
//!     .with_generator(|request| match request.extensions().get() {
//!         Some(OrderNumber(number)) => Ok(Key::new(&format!("order-{number}")).ok()),
//!         None => RandomUuid.key(request),
//!     });
//! let client = layer.layer(server.clone());
//!
//! let order = Request::post("https://api.paypal.com/v2/orders").extension(OrderNumber(42));
//! client.clone().oneshot(order.body(String::new())?).await?;
//! assert_eq!(server.calls()[0].header("paypal-request-id"), Some("order-42"));
//!
//! let elsewhere = Request::post("https://example.com/").extension(OrderNumber(42));
//! client.oneshot(elsewhere.body(String::new())?).await?;
//! assert!(server.calls()[1].headers().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Where it goes in a stack
//!
//! Outside of all layers that act: outside of a retry, so that all attempts share the key; outside
//! of a timeout or a dead letter, so that what failed can be sent again under the key that it had.
//! A layer that changes a request belongs outside of this one: a key must not be used again for
//! another payload.
//!
//! What makes several requests of one belongs outside, too, as a key is for one operation. A retry
//! rejects a second operation under one key; where none is inside of the service that makes them, it
//! cannot be seen.
//!
//! In the wrong place it is still safe. Inside a retry, the default generator gives all attempts of
//! an operation one key where the retry repeats what may have been processed, and no key where that
//! cannot be done. See [`RandomUuid`].
//!
//! # What it does not do
//!
//! It does not send anything again: `courteous-retry` does, and takes the key as the proof that it
//! may. Nor does it know whether the server honours keys: name the hosts that do. It does not see
//! the body, and makes no fingerprint of it; that is the server's business. What follows redirects
//! inside this layer takes the key along to where they lead.
//!
//! # Events
//!
//! With the feature `tracing`, a key layer tells to the target `courteous::idempotency`:
//!
//! | event | level | fields |
//! |---|---|---|
//! | `key_added` | debug | `key`, `method`, `origin` |
//! | `rejected` | debug | `reason`, `method`, `origin` |
//!
//! `reason` is [`RejectReason::as_str`](courteous_core::RejectReason::as_str). `observed=true` marks what a layer that only
//! observes would have done, and then there is no `key`.
//! A field is left out where there is no value. `origin` is scheme, host and port: never a user, a path or a query, which may hold
//! secrets.
//!
//! # Sources
//!
//! draft-ietf-httpapi-idempotency-key-header-07, from which the default deviates: keys are sent
//! raw, as the well-known providers document them, some of which refuse quotes.
//! [`KeyFormat::StructuredField`] is the draft's form. RFC 9562, section 5.4, for the UUID; RFC
//! 9110, section 9.2, for safe and idempotent methods; RFC 9651, section 4.1.6, for the quotes.

mod error;
mod events;
mod format;
mod future;
mod generator;
mod hosts;
mod key;
mod key_settings;
mod layer;
mod recent;
mod service;
mod settings;

pub use error::{InvalidHosts, InvalidKey, InvalidMethods};
pub use format::KeyFormat;
pub use future::ResponseFuture;
pub use generator::{Generator, IntoKey, RandomUuid};
pub use key::Key;
pub use key_settings::KeySettings;
pub use layer::IdempotencyKeyLayer;
pub use service::IdempotencyKey;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
