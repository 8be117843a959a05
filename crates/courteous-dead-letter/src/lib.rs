//! Keeps what could not be delivered, and sends it again safely.

mod clock;
mod error;
mod id;
mod letter;
mod memory;
mod payload;
mod reason;
mod record;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[allow(dead_code, reason = "until both stores are here")]
mod row;
mod sink;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stats;
mod store;
mod tags;
mod withheld;

pub use clock::Clock;
pub use error::{PushError, StoreError, UnknownWord};
pub use id::{InvalidId, LetterId};
pub use letter::{Failure, Letter, PastAttempt};
pub use memory::MemoryStore;
pub use payload::Payload;
pub use reason::Reason;
pub use record::{Record, State, StateKind};
pub use sink::{BoxFuture, Sink};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteError, SqliteFault, SqliteOptions, SqliteStore};
pub use stats::{Count, Stats};
pub use store::{Claim, Filter, Mark, Page, Settlement, Store};
pub use tags::{Tags, TagsIter};
pub use withheld::Withheld;
