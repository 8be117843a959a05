//! A tower layer that keeps the calls that have finally failed, and a redrive that sends them again
//! safely.
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
//! A call fails for good when its attempts, its time or the retry budget are used up, or when the
//! server asks for a longer pause than a call may wait. Then the request is recorded: method,
//! target, header fields, body, **idempotency key**, attempts and their history, the last status
//! and error, and the caller's tags; but no secret. The caller gets the same outcome as without the
//! layer, with the record's id on it.
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use courteous_dead_letter::{DeadLetterLayer, DeadLettered, MemoryStore, State, LetterStore, redrive};
//! use courteous_testing::Script;
//! use http::Request;
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), courteous_core::BoxError> {
//! let server = Script::new([503, 200]).service(); // in place of a client
//!
//! let store = MemoryStore::new(); // or an `SqliteStore`, or a `PostgresStore`
//! let client = DeadLetterLayer::new(store.clone()).layer(server.clone());
//! let payment = Request::post("https://api.example.com/charges").header("idempotency-key", "order-42");
//! let response = client.oneshot(payment.body(Full::<Bytes>::from("amount=42"))?).await?;
//! assert_eq!(response.status(), 503);
//! let id = DeadLettered::of(&response).expect("a record").id();
//!
//! // An hour later, or by the command `courteous-dlq replay`:
//! let summary = redrive::<_, _, Full<Bytes>, _>(&store, server.clone()).await?;
//! assert_eq!(summary.delivered, 1);
//! let record = store.get(id).await?.expect("a record");
//! assert!(matches!(record.state, State::Delivered { .. }));
//! assert_eq!(server.calls().keys(), [Some("order-42"); 2]);
//! # Ok(())
//! # }
//! ```
//!
//! The next example adds tags to find a record by, leaves out reads, includes dropped calls, and
//! raises an alert:
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
//! The layer goes just inside the layer that gives a call its idempotency key, so that every record
//! has the key that was sent. It goes outside all other layers, including the total timeout, so
//! that it sees the final outcome of a call. A retry inside reports on the attempts by
//! [`RetryInfo`](courteous_core::RetryInfo) and [`CallRecord`](courteous_core::CallRecord). Without a retry,
//! the layer judges the call alone: see [`DeadLetterLayer::with_classifier`].
//!
//! In the wrong place it is safe. Inside a retry it records nothing, as it cannot know there
//! whether the call has failed for good, and it says so in [`NotRecorded`]. Inside a total timeout,
//! a call whose time is up counts as dropped.
//!
//! # It is no outbox
//!
//! A call is recorded when it has failed. A process that is killed before that leaves no record,
//! whether the request was sent or not. If a call must not be lost at any price, write it down
//! *before* it is sent, in the same transaction as the data that it concerns, and send it from
//! there:
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
//! Letters can go anywhere. A queue, a topic or a log needs only this much:
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
//! # use tower::{Layer, ServiceExt};
//! # let down = courteous_testing::Script::always(courteous_testing::Answer::connection_reset()).service();
//! # let request = http::Request::post("/charges").body(http_body_util::Empty::<bytes::Bytes>::new())?;
//! # let error = layer.layer(down).oneshot(request).await.unwrap_err();
//! # assert!(error.is::<courteous_dead_letter::DeadLettered>());
//! # layer.flush().await;
//! # Ok(())
//! # }
//! ```
//!
//! A [`LetterStore`] is a sink whose letters can also be read and claimed; [`MemoryStore`] is the
//! shortest one. A store in a database writes the columns of [`row`].
//!
//! # What it does not do
//!
//! - It makes no attempts: `courteous-retry` does, inside it.
//! - It gives no call a key: `courteous-idempotency` does, outside it. Without a key, a call that
//!   may have been processed is not sent again. It is sent again only if its method is idempotent,
//!   its caller has called it [idempotent](Letter::idempotent), or a person decides so.
//! - It does not look into bodies. They are written as they are, unless the layer has a [`BodyScrubber`] or the store is
//!   `Encrypted` (feature `encryption`).
//! - It reads no response body. A call whose response began well is answered, however its body ends.
//! - It keeps no order: a redriven call comes after the calls that were sent in the meantime.
//! - A redrive makes a new request. It has the first request's header fields and its own deadline,
//!   but not the first request's extensions.
//!
//! # Panics
//!
//! On a Tokio runtime without its time driver (`Builder::enable_time`), a call panics when it waits
//! for its letter to be durable, and a redrive panics when it pauses. Outside a runtime, such a
//! call is polled again and again, and a redrive panics.
//!
//! # Events
//!
//! With the feature `tracing`, the layer and the redrive send events to the target
//! `courteous::dead_letter`:
//!
//! | event | level | fields |
//! |---|---|---|
//! | `recorded` | info; debug if only observed | `id`, `reason`, `status`, `method`, `origin` |
//! | `handed_over` | info | the same |
//! | `not_recorded` | error | the same, `cause` (`timed_out`, `rejected`, `retry_outside`, `no_id`), `error` |
//! | `replayed` | debug | `id`, `outcome`, `reason`, `why` (it was not sent), `status`, `method`, `origin` |
//!
//! `reason` is [`Reason::as_str`]; `status` is the status of the last answer. `observed=true` marks
//! a call that a layer would have recorded, if it did not only observe; such an event has no `id`.
//! A record that cannot be read has no method. A field is left out if it has no value. `origin` is
//! scheme, host and port: never a user, a path or a query, which may hold secrets.
//!
//! # Features
//!
//! The features of `courteous-classify` (`hyper-util`, `h2`, `rustls`) decide which client's errors
//! are understood. That crate judges a call if no retry inside has judged it. With these features
//! off, a failure that was never sent is recorded as one that may have been processed. The crate
//! `courteous` turns them on by default.
//!
//! `encryption`: bodies encrypted at rest. `load`: `tower::load::Load` of the inner service.
//! `tracing`: the events above. `test-util`: tests of what every store promises, for a store of
//! your own (module `conformance`). `serde` serializes snapshots.
//!
//! The stores have their own crates: `courteous-dead-letter-sqlite` and
//! `courteous-dead-letter-postgres`.
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
