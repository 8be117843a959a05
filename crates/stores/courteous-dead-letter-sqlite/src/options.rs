use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use courteous_core::find_cause;
use courteous_dead_letter::{Clock, StoreError};
use rusqlite::{Connection, OpenFlags, ToSql};

use crate::{
    SqliteError, SqliteFault, SqliteStore,
    error::into_sqlite,
    file::File,
    lock::Lock,
    queue::{Limits, Queue},
    reader::Reader,
    reserve::Reserve,
    schema,
    store::Handle,
    writer::{Jobs, Writer},
};

/// How to open an [`SqliteStore`].
///
/// ```
/// use std::time::Duration;
///
/// use courteous_dead_letter_sqlite::SqliteOptions;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("dead-letters.db");
/// let store = SqliteOptions::new()
///     .with_max_file_bytes(256 * 1024 * 1024)
///     .with_lock_timeout(Duration::from_secs(2))
///     .open(path)?;
/// # drop(store);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    create: bool,
    max_queued: NonZeroUsize,
    max_queued_bytes: usize,
    max_file_bytes: u64,
    reserve: u64,
    mode: u32,
    lock_timeout: Duration,
    clock: Clock,
}

const MIB: u64 = 1024 * 1024;

/// What the log is cut down to after a checkpoint: the size at which SQLite makes one by default.
const LOG_BYTES: i64 = 4 * MIB as i64;

/// The longest that SQLite waits for a lock.
const LONGEST_WAIT: Duration = Duration::from_millis(i32::MAX as u64);

impl SqliteOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            create: true,
            max_queued: match NonZeroUsize::new(16_384) {
                Some(letters) => letters,
                None => NonZeroUsize::MIN,
            },
            max_queued_bytes: 64 * MIB as usize,
            max_file_bytes: 4096 * MIB,
            reserve: 8 * MIB,
            mode: 0o600,
            lock_timeout: Duration::from_secs(10),
            clock: Clock::system(),
        }
    }

    /// Whether a file that is not there is created, as it is by default. A command that only looks had better not: a name
    /// that was mistyped would be an empty store.
    #[must_use]
    pub const fn with_create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How many letters may be in memory, handed over and not yet durable. The next one is refused by
    /// [`PushError::Full`](courteous_dead_letter::PushError::Full), and [counted](SqliteStore::refused).
    ///
    /// The default is 16,384, which one commit makes durable in a fraction of a second: a store that refuses letters for longer
    /// is one that cannot write.
    #[must_use]
    pub const fn with_max_queued(mut self, letters: NonZeroUsize) -> Self {
        self.max_queued = letters;
        self
    }

    /// How many bytes these letters may have in sum, 64 MiB by default. A letter that is larger than that by itself is taken
    /// if there is no other one.
    #[must_use]
    pub const fn with_max_queued_bytes(mut self, bytes: usize) -> Self {
        self.max_queued_bytes = bytes;
        self
    }

    /// How large the file may grow, 4 GiB by default, so that an outage does not fill the disk: that is some millions of small
    /// letters. A letter that does not fit is refused by [`PushError::Full`](courteous_dead_letter::PushError::Full) until others are purged.
    /// What is there can always be claimed and settled, which may add a little; and the log beside the file has a few MiB, or
    /// as much as one commit.
    ///
    /// It is a matter of this store, not of the file: another process has its own.
    #[must_use]
    pub const fn with_max_file_bytes(mut self, bytes: u64) -> Self {
        self.max_file_bytes = bytes;
        self
    }

    /// How many bytes of the disk are kept for claims, settlements and purges, 8 MiB by default: so a full disk can be emptied.
    /// That is twice what the log may have before it is put into the database. Of a small disk, it is an eighth at most.
    ///
    /// They are in a file beside the store, `-reserve`, which the first letter creates. A change that finds the disk full
    /// removes the file, and is tried again. Letters are refused by [`PushError::Full`](courteous_dead_letter::PushError::Full) from then on,
    /// until twice these bytes are free and the file is there again. Zero keeps nothing back.
    ///
    /// It is no promise where other programs take what becomes free, where the file system compresses zeros, or after a single
    /// commit of more than these bytes.
    #[must_use]
    pub const fn with_reserve(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// The rights that the store's files give at most, on Unix: 0o600 by default, which lets only their owner read and write
    /// them. 0o640 lets a group read them, for a monitor, and 0o660 write them too.
    ///
    /// Files are created with these rights, less those that the umask takes away. A store whose files give more is tightened when
    /// it is opened for writing, or refused by [`SqliteFault::Exposed`] if it belongs to another user. The owner always has his
    /// rights.
    #[must_use]
    pub const fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o666 | 0o600;
        self
    }

    /// How long to wait while somebody else is writing to the file, 10 s by default: after that, what was asked for fails by
    /// [`SqliteFault::Locked`]. Letters that are pushed meanwhile are queued. Zero does not wait; the most is 24 days.
    #[must_use]
    pub const fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// By another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the file at `path`, and starts the thread that writes to it.
    ///
    /// This blocks: for milliseconds, or while somebody else has the file locked.
    ///
    /// # Errors
    ///
    /// [`StoreError::NewerSchema`], or [`StoreError::Failed`] with an [`SqliteError`]: the file cannot be opened, or written,
    /// or is none of dead letters. Its content was left as it is.
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
        let path = path.as_ref();
        let writer = self.connect(path).or_else(|error| match error {
            // What is there is to be settled and purged.
            StoreError::Failed(_) if is_full(&error) && self.release_reserve(path) => {
                self.connect(path)
            }
            other => Err(other),
        })?;
        let file = writer.file.clone();
        self.start(file, move |queue| writer.run(queue))
    }

    /// Opens the file at `path` to be looked at: `get`, `list`, `unreadable`, `stats` and
    /// [`backup`](SqliteStore::backup) work, and everything else fails with [`SqliteFault::Inaccessible`].
    ///
    /// It needs the right to read the file and to enter its folder, and no right to write. It changes and tightens nothing, and
    /// creates nothing but the index of a log that a killed process has left, if the file is its user's own. While a store writes to the file, it needs the right to read the files beside it as well. Without a log
    /// beside it, the file is read as one that does not change (SQLite's `immutable=1`), and read again if it changed meanwhile.
    ///
    /// This blocks for milliseconds.
    ///
    /// # Errors
    ///
    /// [`StoreError::NewerSchema`], or [`StoreError::Failed`] with an [`SqliteError`] whose source says which right is missing.
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
        let reader = Reader::open(path.as_ref(), self.busy_timeout())?;
        let file = reader.file().clone();
        self.start(file, move |queue| reader.run(queue))
    }

    fn start(
        self,
        file: File,
        run: impl FnOnce(Arc<Jobs>) + Send + 'static,
    ) -> Result<SqliteStore, StoreError> {
        let queue = Arc::new(Queue::new(Limits {
            letters: self.max_queued.get(),
            bytes: self.max_queued_bytes,
            others: self.max_queued.get(),
        }));
        let theirs = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("dead-letters".to_owned())
            .spawn(move || run(theirs))
            .map_err(SqliteError::from)?;
        Ok(SqliteStore {
            handle: Arc::new(Handle {
                queue,
                thread: thread.thread().id(),
                file,
                lock_timeout: self.busy_timeout(),
            }),
            clock: self.clock,
        })
    }

    fn connect(&self, path: &Path) -> Result<Writer, StoreError> {
        self.connect_as_it_is(path).map_err(|error| match error {
            StoreError::Failed(_) => into_sqlite(error).with_missing_right(path, true).into(),
            other => other,
        })
    }

    fn connect_as_it_is(&self, path: &Path) -> Result<Writer, StoreError> {
        // One at a time: a file that was just created is closed once more, which would release the locks of a connection
        // that another thread has opened meanwhile.
        static OPENING: Mutex<()> = Mutex::new(());
        let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);

        let mut file = File::at(path, self.create, self.mode)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(file.path(), flags).map_err(SqliteError::from)?;
        connection
            .busy_timeout(self.busy_timeout())
            .map_err(SqliteError::from)?;
        // Nothing is written before it is known whose file it is.
        let is_new = schema::is_new(&connection)?;
        if connection.is_readonly("main").map_err(SqliteError::from)? {
            return Err(SqliteError::new(SqliteFault::Inaccessible).into());
        }
        if is_new {
            // So that a purge can give pages back; it has to come first.
            set(&connection, "auto_vacuum", "INCREMENTAL")?;
        }
        // A commit costs one sync, and nobody who looks waits for the one who writes.
        let journal = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
            .map_err(SqliteError::from)?;
        if journal != "wal" {
            let text =
                format!("the file system allows no log, but only the journal mode {journal}");
            return Err(SqliteError::because(SqliteFault::Inaccessible, text).into());
        }
        // A commit that was answered outlives a loss of power; on macOS only with the second one.
        set(&connection, "synchronous", "FULL")?;
        set(&connection, "fullfsync", true)?;
        set(&connection, "journal_size_limit", LOG_BYTES)?;
        let reserve = Reserve::of(&file, self.reserve, self.mode);
        let max_log = max_log(&connection, &reserve).map_err(SqliteError::from)?;
        set(&connection, "wal_autocheckpoint", max_log)?;
        if is_new {
            schema::create(&mut connection)?;
        }
        // By now, SQLite has opened the log and its index.
        schema::is_new(&connection)?;
        file.note_log()?;
        let max_pages = self.max_pages(&connection).map_err(SqliteError::from)?;
        Ok(Writer {
            connection,
            lock: Lock::shared(file.path()),
            reserve,
            file,
            max_pages,
        })
    }

    fn busy_timeout(&self) -> Duration {
        self.lock_timeout.min(LONGEST_WAIT)
    }

    /// Whether it was there.
    fn release_reserve(&self, path: &Path) -> bool {
        let found = File::found(path);
        found.is_ok_and(|file| Reserve::of(&file, self.reserve, self.mode).release())
    }

    fn max_pages(&self, connection: &Connection) -> rusqlite::Result<u32> {
        pages(connection, self.max_file_bytes)
    }
}

/// After how many pages the log is put into the database: the reserve must have room for them, as the database may grow by
/// them before the log shrinks. SQLite's default is the most.
fn max_log(connection: &Connection, reserve: &Reserve) -> rusqlite::Result<u32> {
    const DEFAULT: u32 = 1_000;
    match reserve.bytes() {
        0 => Ok(DEFAULT),
        reserve => Ok(pages(connection, reserve / 2)?.min(DEFAULT)),
    }
}

/// How many pages these bytes are, at least one.
fn pages(connection: &Connection, bytes: u64) -> rusqlite::Result<u32> {
    let page = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?;
    let pages = bytes / u64::from(page.max(1));
    Ok(u32::try_from(pages).unwrap_or(u32::MAX).max(1))
}

fn is_full(error: &StoreError) -> bool {
    find_cause::<SqliteError>(error).is_some_and(|error| error.fault() == SqliteFault::Full)
}

fn set(connection: &Connection, pragma: &str, value: impl ToSql) -> Result<(), SqliteError> {
    Ok(connection.pragma_update(None, pragma, value)?)
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_outlives_a_loss_of_power() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.db");
        // As it is created, and as it is found.
        for _ in 0..2 {
            let writer = SqliteOptions::new().connect(&path).unwrap();
            let pragma = |name| {
                let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
                writer
                    .connection
                    .pragma_query_value(None, name, read)
                    .unwrap()
            };
            assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
            const FULL: i64 = 2;
            assert_eq!(pragma("synchronous"), FULL.into());
            assert_eq!(pragma("fullfsync"), 1.into());
            const INCREMENTAL: i64 = 2;
            assert_eq!(pragma("auto_vacuum"), INCREMENTAL.into());
        }
    }

    #[test]
    fn the_size_of_the_file_is_rounded_down_to_pages() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, pages) in [(0, 1), (4096 * 7 + 4095, 7), (u64::MAX, u32::MAX)] {
            let options = SqliteOptions::new().with_max_file_bytes(bytes);
            let writer = options.connect(&folder.path().join("letters.db")).unwrap();
            assert_eq!(writer.max_pages, pages);
        }
    }
}
