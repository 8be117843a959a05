//! A tower layer that keeps the calls that have finally failed, and what sends them again safely.
//!
//! ```text
//!  call --> key --> dead letter --> timeout --> retry --> limits --> transport
//!                       |     ^
//!         it has failed |     | Redrive: the same key, the same bytes
//!                       v     |
//!              +----------------------+
//!              |  store               |    pending --> claimed --> delivered
//!              |  SQLite, Postgres    |       ^           |------> refused: a final 4xx
//!              |  or one of your own  |       `-----------'------> expired: too old, or too often
//!              +----------------------+
//! ```
//!
//! When a call has failed for good (its attempts are used up, or its time, or the retry budget, or the server wants to be left
//! alone for longer than a call may wait), the request is recorded: method, target, header fields, body, **idempotency key**,
//! attempts and their history, the last status and error, and the caller's tags; but no secret. The caller gets the outcome
//! that it would have got, with the record's id on it.
//!
//! # Example
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use courteous_dead_letter::{DeadLetterLayer, DeadLettered, MemoryStore, State, LetterStore, redrive};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), courteous_core::BoxError> {
//! let down = service_fn(async |_: Request<Full<Bytes>>| {
//!     Ok::<_, Infallible>(Response::builder().status(503).body(Full::<Bytes>::default()).unwrap())
//! });
//! let up = service_fn(async |request: Request<Full<Bytes>>| {
//!     assert_eq!(request.headers()["idempotency-key"], "order-42");
//!     Ok::<_, Infallible>(Response::new(request.into_body()))
//! });
//!
//! let store = MemoryStore::new(); // or an `SqliteStore`, or a `PostgresStore`
//! let client = DeadLetterLayer::new(store.clone()).layer(down);
//! let payment = Request::post("https://api.example.com/charges").header("idempotency-key", "order-42");
//! let response = client.oneshot(payment.body(Full::from("amount=42"))?).await?;
//! assert_eq!(response.status(), 503);
//! let id = DeadLettered::of(&response).expect("a record").id();
//!
//! // An hour later, or by the command `courteous-dlq replay`:
//! let summary = redrive(&store, up).await?;
//! assert_eq!(summary.delivered, 1);
//! let record = store.get(id).await?.expect("a record");
//! assert!(matches!(record.state, State::Delivered { .. }));
//! # Ok(())
//! # }
//! ```
//!
//! With tags to find it by, no reads, calls that were dropped too, and an alert:
//!
//! ```
//! # use courteous_dead_letter::{DeadLetterLayer, MemoryStore, Reason, Tags};
//! # use http::Request;
//! # let store = MemoryStore::new();
//! let layer = DeadLetterLayer::new(store)
//!     .with_filter(|request| !request.method().is_safe())
//!     .with_reason(Reason::Abandoned)
//!     .with_on_letter(|event| eprintln!("{}: {:?}", event.letter().failure.reason, event.outcome()));
//! let payment = Request::post("https://api.example.com/charges").extension(Tags::new().with("order", "42"));
//! # let _ = (layer, payment);
//! ```
//!
//! # Where it goes in a stack
//!
//! Just inside the layer that gives a call its idempotency key, so that every record has the key that was sent; outside of all
//! else, the total timeout included, so that it sees how a call ends in the end. What it needs to know of the attempts, a
//! retry inside tells by [`RetryInfo`](courteous_core::RetryInfo) and [`Trail`](courteous_core::Trail). Without a retry, it
//! judges by itself: see [`DeadLetterLayer::with_classifier`].
//!
//! In the wrong place it is safe. Inside a retry it records nothing, as nobody knows there whether the call has failed for good, and
//! says so in [`NotRecorded`]. Inside a total timeout, a call whose time is up is one that was dropped.
//!
//! # It is no outbox
//!
//! A call is recorded when it has failed. A process that is killed before that leaves no record, whether the request was sent or
//! not. What must not be lost at any price is written down *before* it is sent, in the same transaction as what it is about, and
//! sent from there:
//!
//! ```text
//! BEGIN;
//! INSERT INTO orders (id, ...) VALUES (42, ...);
//! INSERT INTO outbox (order_id, key) VALUES (42, 'order-42');  -- the key is decided here
//! COMMIT;
//!
//! -- A worker, as often as it takes:
//! SELECT order_id, key FROM outbox ORDER BY order_id LIMIT 10 FOR UPDATE SKIP LOCKED;
//! --   sends each through the stack, with that key, and this layer in it
//! DELETE FROM outbox WHERE order_id = 42;                      -- answered, or kept as a dead letter: `DeadLettered`
//! ```
//!
//! # A sink of one's own
//!
//! Letters can go anywhere. Of a queue, a topic or a log only this much is needed:
//!
//! ```
//! use courteous_dead_letter::{BoxFuture, DeadLetterLayer, Letter, PushError, Sink};
//! use tokio::sync::{mpsc, oneshot};
//!
//! enum Parcel {
//!     /// A letter, and where to say that it is durable.
//!     Letter(Letter, oneshot::Sender<Result<(), PushError>>),
//!     /// Where to say that all letters before this are.
//!     Flush(oneshot::Sender<()>),
//! }
//!
//! #[derive(Clone, Debug)]
//! struct Channel(mpsc::Sender<Parcel>);
//!
//! impl Sink for Channel {
//!     fn push(&self, letter: Letter) -> BoxFuture<'static, Result<(), PushError>> {
//!         let (done, durable) = oneshot::channel();
//!         // Handed over here and now, and never blocking: this also works in a `Drop`.
//!         let handed_over = self.0.try_send(Parcel::Letter(letter, done)).map_err(|error| match error {
//!             mpsc::error::TrySendError::Full(_) => PushError::Full,
//!             mpsc::error::TrySendError::Closed(_) => PushError::Closed,
//!         });
//!         Box::pin(async move {
//!             handed_over?;
//!             durable.await.unwrap_or(Err(PushError::Closed))
//!         })
//!     }
//!
//!     // At the end of a process: without it, letters that are still on their way are not waited for.
//!     fn flush(&self) -> BoxFuture<'_, ()> {
//!         Box::pin(async move {
//!             let (done, flushed) = oneshot::channel();
//!             if self.0.send(Parcel::Flush(done)).await.is_ok() {
//!                 let _ = flushed.await;
//!             }
//!         })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), courteous_core::BoxError> {
//! let (sender, mut parcels) = mpsc::channel::<Parcel>(1000);
//! tokio::spawn(async move {
//!     while let Some(parcel) = parcels.recv().await {
//!         match parcel {
//!             Parcel::Letter(letter, done) => {
//!                 // producer.send(letter.id, encode(&letter)).await, and its acknowledgement
//!                 assert_eq!(letter.uri.path(), "/charges");
//!                 let _ = done.send(Ok(()));
//!             }
//!             Parcel::Flush(done) => {
//!                 let _ = done.send(());
//!             }
//!         }
//!     }
//! });
//! let layer = DeadLetterLayer::new(Channel(sender));
//! # use tower::{Layer, ServiceExt, service_fn};
//! # let down = service_fn(async |_: http::Request<http_body_util::Empty<bytes::Bytes>>| {
//! #     Err::<http::Response<String>, _>(std::io::Error::other("down"))
//! # });
//! # let request = http::Request::post("/charges").body(http_body_util::Empty::new())?;
//! # let error = layer.layer(down).oneshot(request).await.unwrap_err();
//! # assert!(error.is::<courteous_dead_letter::DeadLettered>());
//! # layer.flush().await;
//! # Ok(())
//! # }
//! ```
//!
//! A [`LetterStore`] is a sink that can be read, and claimed from: [`MemoryStore`] is the shortest one. One in a database writes the
//! columns of [`row`].
//!
//! # What it does not do
//!
//! - It makes no attempt itself: `courteous-retry` does, inside of it.
//! - It gives no call a key: `courteous-idempotency` does, outside of it. Without a key, a call that may have been processed is
//!   not sent again, unless its method is idempotent, its caller has called it [idempotent](Letter::idempotent), or somebody decides
//!   so.
//! - It does not look into bodies. They are written as they are, unless the layer has a [`BodyScrubber`] or the store is
//!   `Encrypted` (feature `encryption`).
//! - It reads no response body. A call whose response began well is answered, however its body ends.
//! - It keeps no order: what is sent again comes after what was sent since.
//! - A redrive is a request anew: it has the header fields of the first one and its own deadline, but not its extensions.
//!
//! # Panics
//!
//! On a Tokio runtime without its time driver (`Builder::enable_time`), a call panics when it waits for its letter to be durable,
//! and a redrive when it pauses. Outside of a runtime, such a call is polled again and again, and a redrive panics.
//!
//! # Events
//!
//! With the feature `tracing`, layer and redrive tell to the target `courteous::dead_letter`:
//!
//! | event | level | fields |
//! |---|---|---|
//! | `recorded` | info; debug if only observed | `id`, `reason`, `status`, `method`, `origin` |
//! | `handed_over` | info | the same |
//! | `not_recorded` | error | the same, `cause` (`timed_out`, `refused`, `retry_outside`, `no_id`), `error` |
//! | `replayed` | debug | `id`, `outcome`, `reason`, `why` (it was not sent), `status`, `method`, `origin` |
//!
//! `reason` is [`Reason::as_str`]; `status` is that of the last answer. `observed=true` marks what a layer that only observes would
//! have recorded; it has no `id`. A record that cannot be read has no method.
//! A field is left out where there is no value. `origin` is scheme, host and port: never a user, a path or a query, which may hold
//! secrets.
//!
//! # Features
//!
//! Which client's errors are understood is said by the features of `courteous-classify` (`hyper-util`, `h2`, `rustls`), which judges
//! where no retry inside has. With them off, a failure that was never sent is recorded as one that may have been processed.
//! The crate `courteous` turns them on by default.
//!
//! `encryption`: bodies encrypted at rest. `load`: `tower::load::Load` of the inner service. `tracing`: the events
//! above. `test-util`: what every store promises, as tests for a store of your own (module `conformance`). `serde` serializes
//! snapshots.
//!
//! The stores are crates of their own: `courteous-dead-letter-sqlite` and `courteous-dead-letter-postgres`.
//!
//! # Sources
//!
//! The *dead letter channel* of Hohpe and Woolf's "Enterprise Integration Patterns" (2003), with the state of a job queue
//! beside each letter; fencing numbers after Kleppmann's "Designing Data-Intensive Applications" (2017), chapter 8. RFC 9110,
//! section 9.2.2, for idempotent methods; draft-ietf-httpapi-idempotency-key-header for keys; RFC 9562, section 5.7, for ids.

mod clock;
mod layer;
mod letter;
mod redact;
mod redrive;
mod store;

pub use clock::Clock;
pub use layer::{
    DeadLetter, DeadLetterLayer, DeadLettered, LetterEvent, LetterOutcome, NotRecorded,
    NotRecordedCause, ResponseFuture,
};
pub use letter::{
    Failure, InvalidId, Letter, LetterId, PastAttempt, Payload, Reason, Tags, TagsIter,
    UnknownWord, Withheld,
};
pub use redact::BodyScrubber;
pub use redrive::{
    NotSent, Progress, Redrive, RedriveOutcome, Redriving, SecretSource, Secrets, Summary, redrive,
};
#[cfg(feature = "test-util")]
pub use store::conformance;
pub use store::{
    BoxFuture, Claim, Claimed, Count, Filter, LetterStore, Mark, MemoryStore, Page, PushError,
    Record, Settlement, Sink, State, StateKind, Stats, StoreError, Unreadable, row,
};
#[cfg(feature = "encryption")]
pub use store::{Encrypted, EncryptionKey, InvalidEncryptionKey};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
