//! The dead letter, and the stores whose features are on.

pub use courteous_dead_letter::*;
#[cfg(feature = "dead-letter-postgres")]
pub use courteous_dead_letter_postgres::*;
#[cfg(feature = "dead-letter-sqlite")]
pub use courteous_dead_letter_sqlite::*;

#[cfg(feature = "idempotency")]
pub use crate::service_builder::KeyOutside;
