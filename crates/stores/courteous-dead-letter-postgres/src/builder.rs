use std::{
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use courteous_dead_letter::{Clock, LetterStore, StoreError};
use tokio_postgres::{
    Config, Socket,
    tls::{MakeTlsConnect, TlsConnect},
};

use crate::spill::Spill;
use crate::{
    connect::{By, PLAIN},
    settings::Settings,
    store::PostgresStore,
};

/// Settings of a [`PostgresStore`].
///
/// ```no_run
/// use std::num::NonZeroU64;
///
/// use courteous_dead_letter::MemoryStore;
/// use courteous_dead_letter_postgres::PostgresStore;
///
/// # fn example(local: MemoryStore) -> Result<(), Box<dyn std::error::Error>> {
/// // `local` is a `SqliteStore` in a file of its own.
/// let most = NonZeroU64::new(100_000).ok_or("zero")?;
/// let store = PostgresStore::builder("postgres://payments@db.example/payments")?
///     .with_spill(local, most)
///     .open();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a store"]
pub struct PostgresBuilder {
    settings: Settings,
}

impl PostgresBuilder {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            settings: Settings {
                config,
                connect: Arc::new(PLAIN),
                patience: Duration::from_secs(5),
                letters: 10_000,
                bytes: 64 << 20,
                clock: Clock::system(),
                spill: None,
            },
        }
    }

    /// How connections are encrypted: any connector for `tokio-postgres`, such as those of `postgres-native-tls` and
    /// `tokio-postgres-rustls`. None by default: whether the server wants it is said by `sslmode` in the URL.
    pub fn with_tls<T>(mut self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.settings.connect = Arc::new(By(tls));
        self
    }

    /// The password, if the URL has none: from where passwords are kept.
    pub fn with_password(mut self, password: impl AsRef<[u8]>) -> Self {
        if self.settings.config.get_password().is_none() {
            self.settings.config.password(password);
        }
        self
    }

    /// How long what was asked waits for a database that is away, how long a statement may take, and how long it may take
    /// to connect: 5 s by default. So nothing takes longer than a few times that. Zero connects to nothing; the most is a year.
    ///
    /// A connection that falls silent is given up after this time, and only then are its letters spilled. If the layer's
    /// [record timeout](courteous_dead_letter::DeadLetterLayer::with_record_timeout), 2 s by default, is shorter, the callers of these are told
    /// [`TimedOut`](courteous_dead_letter::NotRecordedCause::TimedOut), though their letters are kept in the end.
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// The most letters that are held in memory, and the most bytes: each has those of its body, and 1 KiB. 10,000 and
    /// 64 MiB by default. A letter that is larger than all may be together is taken if there is no other.
    pub const fn with_max_waiting(mut self, letters: NonZeroUsize, bytes: NonZeroU32) -> Self {
        self.settings.letters = letters.get();
        self.settings.bytes = bytes.get();
        self
    }

    /// Writes letters to `store` while Postgres is away, or refuses them, at most `max_letters`; further ones are refused by
    /// [`PushError::Full`](courteous_dead_letter::PushError::Full). A push then resolves when its letter is durable *there*. When Postgres
    /// is back, or another process opens the same `store`, they are handed over, and removed. One that is refused again stays,
    /// and is tried again and again.
    ///
    /// The store must be for this alone: nobody may redrive from it, and what is settled in it is purged.
    /// Between a letter's being handed over and its removal the process can be killed; it is then handed over again, which
    /// changes nothing, unless it was purged in Postgres meanwhile.
    pub fn with_spill(
        mut self,
        store: impl LetterStore + 'static,
        max_letters: NonZeroU64,
    ) -> Self {
        self.settings.spill = Some(Spill::new(store, max_letters));
        self
    }

    /// What is added to the database's time, for tests: as much as this clock was advanced.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// The store. It connects when it is first needed, so that it can be made while the database is away.
    #[must_use]
    pub fn open(self) -> PostgresStore {
        PostgresStore::new(self.settings)
    }

    /// The store, with a connection.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached, or its tables are of a newer version.
    pub async fn connect(self) -> Result<PostgresStore, StoreError> {
        let store = self.open();
        store.ready().await?;
        Ok(store)
    }
}
