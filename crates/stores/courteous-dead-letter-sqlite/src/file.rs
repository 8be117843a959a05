use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf, absolute},
};

use crate::{SqliteError, SqliteFault, rights::tighten};

/// The file of a store and the two files that SQLite keeps beside it, with their identities when
/// they were opened.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// The path that the caller gave. It may lead through a symbolic link.
    given: PathBuf,
    /// The resolved path.
    path: PathBuf,
    database: Identity,
    /// The log (`-wal`) and its index (`-shm`), once they are there.
    beside: Option<[Identity; 2]>,
}

/// Device and inode. `None` where a file that is open cannot be removed.
type Identity = Option<(u64, u64)>;

/// Whether the files still have their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// All three files have their names.
    Kept,
    /// All files but the log have their names. The log is gone, and no other file has its name.
    NoLog,
    /// The database or its index has lost its name, or another file has the name of one of the
    /// three.
    Moved,
}

impl File {
    /// Finds the file at `path`, or creates it if `create` is set. `mode` is the most rights that
    /// it may give. The log that SQLite puts beside it inherits them.
    ///
    /// An existing file is not opened here. To open and close it would release the locks of this
    /// process' other connections (POSIX `fcntl`). Then other processes would no longer see that
    /// the file is in use.
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
            tighten(path, mode)
                .map_err(|wrong| SqliteError::because(SqliteFault::Exposed, wrong))?;
        }
        Ok(file)
    }

    /// Finds the file at `path`, and leaves its rights as they are.
    pub(crate) fn found(path: &Path) -> io::Result<Self> {
        let given = absolute(path)?;
        // The path is resolved for two reasons: the process may change its directory, and to SQLite
        // some relative names are not files.
        let path = fs::canonicalize(&given)?;
        let database = identity(&path)?;
        Ok(Self {
            given,
            path,
            database,
            beside: None,
        })
    }

    /// Notes the identities of the log and its index, after SQLite has opened both.
    pub(crate) fn note_log(&mut self) -> Result<(), SqliteError> {
        let beside = || Ok([identity(&self.log())?, identity(&self.index())?]);
        let beside: io::Result<_> = beside();
        // The files were just opened, and are gone already.
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

    /// The path of the file beside the database whose name ends with `suffix`.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(suffix);
        path.into()
    }

    /// Checks whether data that is written now will be found under the names by which the files
    /// were opened.
    pub(crate) fn names(&self) -> Names {
        if !self.is_named() {
            return Names::Moved;
        }
        let Some([log, index]) = self.beside else {
            return Names::Kept;
        };
        if !is(&self.index(), index) {
            return Names::Moved;
        }
        match identity(&self.log()) {
            Ok(now) if now == log => Names::Kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Names::NoLog,
            _ => Names::Moved,
        }
    }
}

fn is(path: &Path, then: Identity) -> bool {
    identity(path).is_ok_and(|now| now == then)
}

/// Creates an empty file, which must not exist yet.
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
