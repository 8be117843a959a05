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
    PostgresError,
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

impl PostgresStore {
    /// Connects to the database that `url` names, and makes the tables if they are not there.
    ///
    /// `url` may begin with `postgres://`, or have the form `host=/run/postgresql dbname=payments`.
    /// The connection is not encrypted; [`PostgresBuilder::with_tls`] does that.
    ///
    /// # Errors
    ///
    /// Fails if the URL cannot be read, the database cannot be reached, or its tables are of a
    /// newer version.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::builder(url)
            .map_err(StoreError::failed)?
            .connect()
            .await
    }

    /// Returns a builder, for settings other than the defaults.
    ///
    /// # Errors
    ///
    /// Fails if the URL cannot be read.
    pub fn builder(url: &str) -> Result<PostgresBuilder, PostgresError> {
        let config = url.parse().map_err(|error| PostgresError::new(&error))?;
        Ok(PostgresBuilder::new(config))
    }
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

    /// Encrypts connections with `tls`, any connector for `tokio-postgres`, such as those of
    /// `postgres-native-tls` and `tokio-postgres-rustls`. By default there is none. `sslmode` in
    /// the URL says whether a connection must be encrypted.
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

    /// Sets the password if the URL has none, so that it can come from a secret store.
    pub fn with_password(mut self, password: impl AsRef<[u8]>) -> Self {
        if self.settings.config.get_password().is_none() {
            self.settings.config.password(password);
        }
        self
    }

    /// Sets how long a request waits for a database that is away, how long a statement may take,
    /// and how long a connection attempt may take: 5 s by default. So nothing takes longer than a
    /// few times that. With zero, no connection succeeds. The longest wait is a year.
    ///
    /// The store gives up a silent connection after this time, and only then spills its letters.
    /// The layer's [record timeout](courteous_dead_letter::DeadLetterLayer::with_record_timeout),
    /// 2 s by default, may be shorter. Then the callers of these letters get
    /// [`TimedOut`](courteous_dead_letter::NotRecordedCause::TimedOut), though their letters are
    /// kept in the end.
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// Bounds the letters that are held in memory, by count and by bytes: 10,000 and 64 MiB by
    /// default. A letter counts as the bytes of its body, and 1 KiB. A letter that is larger than
    /// the whole bound is taken if there is no other.
    pub const fn with_max_waiting(mut self, letters: NonZeroUsize, bytes: NonZeroU32) -> Self {
        self.settings.letters = letters.get();
        self.settings.bytes = bytes.get();
        self
    }

    /// Writes letters to `store`, the spill, while Postgres is away or refuses them. The spill
    /// holds at most `max_letters`. Further letters are rejected with
    /// [`PushError::Full`](courteous_dead_letter::PushError::Full). A push then resolves when its
    /// letter is durable *there*. When Postgres is back, or another process opens the same `store`,
    /// the letters are handed over, and removed. A letter that Postgres refuses again stays in the
    /// spill, and is tried again and again.
    ///
    /// Use `store` only as a spill: do not redrive from it, as every settled record in it is
    /// purged. The process may be killed after a letter was handed over and before it is removed.
    /// Then the letter is handed over again. That changes nothing, unless it was purged in Postgres
    /// meanwhile.
    pub fn with_spill(
        mut self,
        store: impl LetterStore + 'static,
        max_letters: NonZeroU64,
    ) -> Self {
        self.settings.spill = Some(Spill::new(store, max_letters));
        self
    }

    /// Adds to the database's time as much as `clock` was advanced, for tests.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Returns the store without a connection. It connects when it is first needed, so it can be
    /// made while the database is away.
    #[must_use]
    pub fn open(self) -> PostgresStore {
        PostgresStore::new(self.settings)
    }

    /// Connects, and returns the store.
    ///
    /// # Errors
    ///
    /// Fails if the database cannot be reached, or its tables are of a newer version.
    pub async fn connect(self) -> Result<PostgresStore, StoreError> {
        let store = self.open();
        store.ready().await?;
        Ok(store)
    }
}
