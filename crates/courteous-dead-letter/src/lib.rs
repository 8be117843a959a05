//! Keeps what could not be delivered, and sends it again safely.

mod classifier;
mod clock;
mod collect;
#[cfg(feature = "encryption")]
mod encrypted;
mod error;
mod event;
mod fate;
mod future;
mod id;
mod layer;
mod letter;
mod memory;
mod payload;
#[cfg(feature = "postgres")]
mod postgres;
mod query;
mod reason;
mod record;
mod recording;
mod replay;
mod replaying;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[allow(dead_code, reason = "until both stores are here")]
mod row;
mod scrub;
mod secrecy;
mod secrets;
mod service;
mod settings;
mod sink;
#[cfg(feature = "postgres")]
mod spill;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stats;
mod store;
mod summary;
mod tags;
mod ticket;
mod verdict;
mod withheld;

pub use clock::Clock;
#[cfg(feature = "encryption")]
pub use encrypted::{Encrypted, EncryptionKey, InvalidEncryptionKey};
pub use error::{PushError, StoreError, UnknownWord};
pub use event::{Fate, LetterEvent};
pub use fate::{DeadLettered, NotRecorded, NotRecordedCause};
pub use future::ResponseFuture;
pub use id::{InvalidId, LetterId};
pub use layer::DeadLetterLayer;
pub use letter::{Failure, Letter, PastAttempt};
pub use memory::MemoryStore;
pub use payload::Payload;
#[cfg(feature = "postgres")]
pub use postgres::{Backlog, PostgresBuilder, PostgresError, PostgresStore};
pub use reason::Reason;
pub use record::{Record, State, StateKind};
pub use replay::{Replay, replay};
pub use replaying::Replaying;
pub use secrets::{SecretSource, Secrets};
pub use service::DeadLetter;
pub use sink::{BoxFuture, Sink};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteError, SqliteFault, SqliteOptions, SqliteStore};
pub use stats::{Count, Stats};
pub use store::{Claim, Filter, Mark, Page, Settlement, Store};
pub use summary::{NotSent, Progress, ReplayOutcome, Summary};
pub use tags::{Tags, TagsIter};
pub use withheld::Withheld;
