use std::{
    fs, io,
    path::{Path, PathBuf},
    slice,
    sync::Arc,
    time::{Duration, SystemTime},
};

use courteous_dead_letter::StoreError;
use rusqlite::{Connection, OpenFlags};

use crate::{
    SqliteError, SqliteFault,
    error::into_sqlite,
    file::File,
    job::{Job, Kind},
    lock::Lock,
    schema,
    writer::{Ended, Jobs, run},
};

/// The state of the thread of a read-only store.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    timeout: Duration,
    opened: Opened,
}

/// A connection that writes nothing, not even beside the file.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Closed before the lock's file.
    pub(crate) connection: Connection,
    lock: Option<Lock>,
    pub(crate) file: File,
    /// The file's state when it was opened, if it is read as a file that does not change.
    still: Option<Still>,
}

/// The file's size and time of change. A write to the file would change them.
#[derive(Debug, PartialEq, Eq)]
struct Still {
    bytes: u64,
    modified: SystemTime,
}

/// How often a look at a file is tried, if the file changes during each look.
const LOOKS: u32 = 10;

impl Reader {
    pub(crate) fn open(path: &Path, timeout: Duration) -> Result<Self, StoreError> {
        // The path is absolute, as the process may change its directory.
        let path = std::path::absolute(path).map_err(SqliteError::from)?;
        Ok(Self {
            opened: Opened::open(&path, timeout)?,
            path,
            timeout,
        })
    }

    pub(crate) const fn file(&self) -> &File {
        &self.opened.file
    }

    /// Runs the thread until the last handle is gone.
    pub(crate) fn run(mut self, queue: Arc<Jobs>) {
        let ended = Ended::of(queue);
        while let Some(jobs) = ended.queue().take() {
            for mut job in jobs {
                let done = match job.kind() {
                    Kind::Look => self.look(&mut job),
                    _ => Err(SqliteError::because(
                        SqliteFault::Inaccessible,
                        "the store was opened to be looked at only".to_owned(),
                    )),
                };
                job.answer(done);
            }
        }
        drop(self);
    }

    fn look(&mut self, job: &mut Box<dyn Job>) -> Result<(), SqliteError> {
        for _ in 0..LOOKS {
            if !self.opened.is_valid() {
                self.opened = Opened::open(&self.path, self.timeout).map_err(into_sqlite)?;
            }
            let done = run(&self.opened.connection, slice::from_mut(job));
            // If the file was changed during the read, the result may be anything.
            if self.opened.is_valid() {
                return done.map_err(SqliteError::from);
            }
        }
        Err(SqliteError::new(SqliteFault::Locked))
    }
}

impl Opened {
    /// Opens the file. If there is a log beside it, this is an ordinary SQLite reader. Without a
    /// log, no store has the file open, and it is read as a file that does not change
    /// (`immutable=1`). An ordinary reader would have to create the log, and other users could not
    /// write to that log.
    pub(crate) fn open(path: &Path, timeout: Duration) -> Result<Self, StoreError> {
        let opened = Self::open_as_it_is(path, timeout);
        opened.map_err(|error| match error {
            StoreError::Failed(_) => into_sqlite(error).with_missing_right(path, false).into(),
            other => other,
        })
    }

    fn open_as_it_is(path: &Path, timeout: Duration) -> Result<Self, StoreError> {
        let file = File::found(path).map_err(SqliteError::from)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let still = match is_in_use(&file) {
            true => None,
            false => Some(Still::of(&file).map_err(SqliteError::from)?),
        };
        let connection = match &still {
            Some(_) => {
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags(immutable(file.path()), flags)
            }
            None => {
                check_index(&file)?;
                Connection::open_with_flags(file.path(), flags)
            }
        };
        let connection = connection.map_err(SqliteError::from)?;
        connection
            .busy_timeout(timeout)
            .map_err(SqliteError::from)?;
        if schema::is_new(&connection)? {
            return Err(SqliteError::new(SqliteFault::Alien).into());
        }
        Ok(Self {
            lock: still.is_none().then(|| Lock::shared(file.path())),
            connection,
            file,
            still,
        })
    }

    /// Whether reads still return the file's present content.
    pub(crate) fn is_valid(&self) -> bool {
        let is_still = |still: &Still| {
            !is_in_use(&self.file) && Still::of(&self.file).is_ok_and(|now| now == *still)
        };
        self.file.is_named() && self.still.as_ref().is_none_or(is_still)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            lock.release();
        }
    }
}

impl Still {
    fn of(file: &File) -> io::Result<Self> {
        let found = fs::metadata(file.path())?;
        Ok(Self {
            bytes: found.len(),
            modified: found.modified()?,
        })
    }
}

/// Whether there is a log, or a journal of a change that was not completed.
fn is_in_use(file: &File) -> bool {
    file.log().exists() || file.beside("-journal").exists()
}

/// Checks the index of the log. If it is missing, only the owner of the file may make it: the owner
/// could not write to another user's index.
#[cfg(unix)]
fn check_index(file: &File) -> Result<(), SqliteError> {
    use std::os::unix::fs::MetadataExt;

    let user = nix::unistd::geteuid();
    let owner = fs::metadata(file.path())?.uid();
    if file.index().exists() || !file.log().exists() || user.is_root() || user.as_raw() == owner {
        return Ok(());
    }
    Err(SqliteError::because(
        SqliteFault::Inaccessible,
        format!(
            "{} is missing, and user {user} may not make it: it is made when user {owner}, to whom the file belongs, opens the store",
            file.index().display(),
        ),
    ))
}

#[cfg(not(unix))]
fn check_index(_: &File) -> Result<(), SqliteError> {
    Ok(())
}

/// Returns the URI that opens a file as one that does not change.
pub(crate) fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}
