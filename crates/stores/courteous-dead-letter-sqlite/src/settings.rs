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
/// use courteous_dead_letter_sqlite::SqliteSettings;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("dead-letters.db");
/// let store = SqliteSettings::new()
///     .with_max_file_bytes(256 * 1024 * 1024)
///     .with_lock_timeout(Duration::from_secs(2))
///     .open(path)?;
/// # drop(store);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SqliteSettings {
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

/// The size to which the log is cut down after a checkpoint. At this size, SQLite makes a
/// checkpoint by default.
const LOG_BYTES: i64 = 4 * MIB as i64;

/// The longest time that SQLite waits for a lock.
const LONGEST_WAIT: Duration = Duration::from_millis(i32::MAX as u64);

impl SqliteStore {
    /// Opens the file at `path`, or creates it, with the default [settings](SqliteSettings).
    ///
    /// This blocks for milliseconds, or while another program has the file locked.
    ///
    /// # Errors
    ///
    /// The same as for [`SqliteSettings::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteSettings::new().open(path)
    }

    /// Opens the file at `path` read-only, with the default [settings](SqliteSettings).
    ///
    /// # Errors
    ///
    /// The same as for [`SqliteSettings::open_read_only`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteSettings::new().open_read_only(path)
    }
}

impl SqliteSettings {
    /// Returns the defaults.
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

    /// Sets whether to create a missing file. By default, it is created. Turn this off for a
    /// command that only looks: otherwise a mistyped name would make an empty store.
    #[must_use]
    pub const fn with_create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets how many letters may be queued: they are in memory, and not yet durable. Further
    /// letters are rejected with [`PushError::Full`](courteous_dead_letter::PushError::Full), and
    /// [counted](SqliteStore::rejected).
    ///
    /// The default is 16,384. One commit makes that many letters durable in a fraction of a second.
    /// So a store that rejects letters for longer cannot write.
    #[must_use]
    pub const fn with_max_queued(mut self, letters: NonZeroUsize) -> Self {
        self.max_queued = letters;
        self
    }

    /// Sets how many bytes these letters may have together, 64 MiB by default. A letter that is
    /// larger than this bound is taken if no other letter is queued.
    #[must_use]
    pub const fn with_max_queued_bytes(mut self, bytes: usize) -> Self {
        self.max_queued_bytes = bytes;
        self
    }

    /// Sets how large the file may grow, so that an outage does not fill the disk. The default,
    /// 4 GiB, holds some millions of small letters. A letter that does not fit is rejected with
    /// [`PushError::Full`](courteous_dead_letter::PushError::Full) until others are purged. Stored
    /// letters can always be claimed and settled, which may add a little to the file. The log
    /// beside the file takes a few MiB more, or as much as one commit.
    ///
    /// The bound belongs to this store, not to the file: another process has its own bound.
    #[must_use]
    pub const fn with_max_file_bytes(mut self, bytes: u64) -> Self {
        self.max_file_bytes = bytes;
        self
    }

    /// Sets how many bytes of the disk are reserved for claims, settlements and purges, so that a
    /// full disk can be emptied. The default is 8 MiB. The log may grow to half the reserve before
    /// it is put into the database. On a small disk, the reserve is an eighth of the disk at most.
    ///
    /// These bytes are in a file beside the store, `-reserve`, which the first letter creates. A
    /// change that finds the disk full removes the file, and is tried again. From then on, letters
    /// are rejected with [`PushError::Full`](courteous_dead_letter::PushError::Full), until twice
    /// these bytes are free and the file is there again. Zero reserves nothing.
    ///
    /// The reserve is no promise in three cases: other programs take the room that becomes free,
    /// the file system compresses zeros, or a single commit is larger than the reserve.
    #[must_use]
    pub const fn with_reserve(mut self, bytes: u64) -> Self {
        self.reserve = bytes;
        self
    }

    /// Sets the most rights that the store's files may give, on Unix. The default is 0o600: only
    /// their owner can read and write them. With 0o640 a group can also read them, for a monitor.
    /// With 0o660 the group can write them too.
    ///
    /// Files are created with these rights, less those that the umask takes away. If existing files
    /// give more rights, the store takes these away when it is opened for writing. If the files
    /// belong to another user, it rejects them with [`SqliteFault::Exposed`]. The owner can always
    /// read and write.
    #[must_use]
    pub const fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o666 | 0o600;
        self
    }

    /// Sets how long to wait while another program writes to the file, 10 s by default. After that,
    /// the request fails with [`SqliteFault::Locked`]. Letters that are pushed meanwhile are
    /// queued. With zero, the store does not wait. The longest wait is 24 days.
    #[must_use]
    pub const fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Uses `clock` instead of the system's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the file at `path`, and starts the thread that writes to it.
    ///
    /// This blocks for milliseconds, or while another program has the file locked.
    ///
    /// # Errors
    ///
    /// [`StoreError::NewerSchema`], or [`StoreError::Failed`] with an [`SqliteError`]: the file
    /// cannot be opened or written, or is not a file of dead letters. Its content is left as it is.
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
        let path = path.as_ref();
        let writer = self.connect(path).or_else(|error| match error {
            // It must be possible to settle and purge the stored letters.
            StoreError::Failed(_) if is_full(&error) && self.release_reserve(path) => {
                self.connect(path)
            }
            other => Err(other),
        })?;
        let file = writer.file.clone();
        self.start(file, move |queue| writer.run(queue))
    }

    /// Opens the file at `path` read-only. `get`, `list`, `unreadable`, `stats` and
    /// [`backup`](SqliteStore::backup) work. Everything else fails with
    /// [`SqliteFault::Inaccessible`].
    ///
    /// It needs the right to read the file and to enter its folder, and no right to write. It
    /// changes no content and no rights. It creates nothing, with one exception: if a killed
    /// process has left a log without an index, and the user owns the file, it creates the index.
    /// While a store writes to the file, it also needs the right to read the files beside it. If
    /// there is no log, it reads the file as if it could not change (SQLite's `immutable=1`). If
    /// the file changed meanwhile, it reads the file again.
    ///
    /// This blocks for milliseconds.
    ///
    /// # Errors
    ///
    /// [`StoreError::NewerSchema`], or [`StoreError::Failed`] with an [`SqliteError`] whose source
    /// says which right is missing.
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
        // Only one thread at a time may open a file. A file that was just created is closed again.
        // That would release the locks of a connection that another thread has opened meanwhile.
        static OPENING: Mutex<()> = Mutex::new(());
        let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);

        let mut file = File::at(path, self.create, self.mode)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(file.path(), flags).map_err(SqliteError::from)?;
        connection
            .busy_timeout(self.busy_timeout())
            .map_err(SqliteError::from)?;
        // Nothing is written before it is known whose file this is.
        let is_new = schema::is_new(&connection)?;
        if connection.is_readonly("main").map_err(SqliteError::from)? {
            return Err(SqliteError::new(SqliteFault::Inaccessible).into());
        }
        if is_new {
            // This lets a purge give pages back. It must come first.
            set(&connection, "auto_vacuum", "INCREMENTAL")?;
        }
        // With a log, a commit costs one sync, and readers do not wait for the writer.
        let journal = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
            .map_err(SqliteError::from)?;
        if journal != "wal" {
            let text =
                format!("the file system allows no log, but only the journal mode {journal}");
            return Err(SqliteError::because(SqliteFault::Inaccessible, text).into());
        }
        // A commit that was answered survives a loss of power. On macOS that takes the second
        // setting, too.
        set(&connection, "synchronous", "FULL")?;
        set(&connection, "fullfsync", true)?;
        set(&connection, "journal_size_limit", LOG_BYTES)?;
        let reserve = Reserve::of(&file, self.reserve, self.mode);
        let max_log = max_log(&connection, &reserve).map_err(SqliteError::from)?;
        set(&connection, "wal_autocheckpoint", max_log)?;
        if is_new {
            schema::create(&mut connection)?;
        }
        // SQLite has opened the log and its index now.
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

    /// Removes the reserve. Returns whether it was there.
    fn release_reserve(&self, path: &Path) -> bool {
        let found = File::found(path);
        found.is_ok_and(|file| Reserve::of(&file, self.reserve, self.mode).release())
    }

    fn max_pages(&self, connection: &Connection) -> rusqlite::Result<u32> {
        pages(connection, self.max_file_bytes)
    }
}

/// After how many pages the log is put into the database, at most SQLite's default. The reserve
/// must have room for these pages, as the database may grow by them before the log shrinks.
fn max_log(connection: &Connection, reserve: &Reserve) -> rusqlite::Result<u32> {
    const DEFAULT: u32 = 1_000;
    match reserve.bytes() {
        0 => Ok(DEFAULT),
        reserve => Ok(pages(connection, reserve / 2)?.min(DEFAULT)),
    }
}

/// Converts bytes to pages, at least one.
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

impl Default for SqliteSettings {
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
        // First the file is created, then it is found.
        for _ in 0..2 {
            let writer = SqliteSettings::new().connect(&path).unwrap();
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
            let settings = SqliteSettings::new().with_max_file_bytes(bytes);
            let writer = settings.connect(&folder.path().join("letters.db")).unwrap();
            assert_eq!(writer.max_pages, pages);
        }
    }
}
