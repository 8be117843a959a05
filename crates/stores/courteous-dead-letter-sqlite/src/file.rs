use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf, absolute},
};

use crate::{SqliteError, SqliteFault, rights::tighten};

/// The file of a store, the two that SQLite keeps beside it, and which ones they were when they were opened.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// What was asked for: it may lead through a symbolic link.
    given: PathBuf,
    /// Where it is.
    path: PathBuf,
    database: Identity,
    /// The log (`-wal`) and its index (`-shm`), once they are there.
    beside: Option<[Identity; 2]>,
}

/// Device and inode. `None` where a file that is open cannot be removed.
type Identity = Option<(u64, u64)>;

/// Whether the files still have their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// All three.
    Kept,
    /// All but the log, which is gone: nothing else has its name.
    NoLog,
    /// The database, or another file has its name or that of one beside it.
    Moved,
}

impl File {
    /// The file at `path`, and how many rights it may give at most; the log that SQLite puts beside it inherits them.
    ///
    /// One that exists is not opened: to open and close it here would release the locks that another connection of this
    /// process has on it (POSIX `fcntl`), and SQLite would no longer know that it is in use.
    pub(crate) fn at(path: &Path, create: bool, mode: u32) -> Result<Self, SqliteError> {
        if create {
            match create_new(path, mode) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        let file = Self::found(path)?;
        for path in [&file.path, &file.log(), &file.index()] {
            tighten(path, mode)?;
        }
        Ok(file)
    }

    /// The file at `path`, as it is.
    pub(crate) fn found(path: &Path) -> io::Result<Self> {
        let given = absolute(path)?;
        // Resolved: the process may change its directory, and to SQLite some relative names are not files.
        let path = fs::canonicalize(&given)?;
        let database = identity(&path)?;
        Ok(Self {
            given,
            path,
            database,
            beside: None,
        })
    }

    /// Notes which the log and its index are: SQLite has opened both.
    pub(crate) fn note_log(&mut self) -> Result<(), SqliteError> {
        let beside = || Ok([identity(&self.log())?, identity(&self.index())?]);
        let beside: io::Result<_> = beside();
        // Just opened, and gone already.
        self.beside = Some(beside.map_err(|_| SqliteError::new(SqliteFault::Moved))?);
        Ok(())
    }

    /// Whether the database still has its name.
    pub(crate) fn is_named(&self) -> bool {
        is(&self.given, self.database) && is(&self.path, self.database)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.beside("-wal")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.beside("-shm")
    }

    /// The file beside it whose name ends so.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(suffix);
        path.into()
    }

    /// Whether what is written now is found again under the names by which it was opened.
    pub(crate) fn place(&self) -> Place {
        if !self.is_named() {
            return Place::Moved;
        }
        let Some([log, index]) = self.beside else {
            return Place::Kept;
        };
        if !is(&self.index(), index) {
            return Place::Moved;
        }
        match identity(&self.log()) {
            Ok(now) if now == log => Place::Kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Place::NoLog,
            _ => Place::Moved,
        }
    }
}

fn is(path: &Path, then: Identity) -> bool {
    identity(path).is_ok_and(|now| now == then)
}

/// An empty file, which must not be there yet.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(path)?;
    Ok(Some((found.dev(), found.ino())))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|_| None)
}
