use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

/// The file of a store, and which one it was when it was opened.
#[derive(Clone, Debug)]
pub(super) struct File {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl File {
    /// The file at `path`, which nobody but its owner may read; the log that SQLite puts beside it inherits that.
    ///
    /// One that exists is not touched: to open and close it here would release the locks that another connection of this
    /// process has on it (POSIX `fcntl`), and SQLite would no longer know that it is in use.
    pub(super) fn at(path: &Path, create: bool) -> io::Result<Self> {
        if create {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            match options.open(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        // Absolute: the process may change its directory, and to SQLite some relative names are not files.
        let path = fs::canonicalize(path)?;
        let identity = identity(&path)?;
        Ok(Self { path, identity })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the file: what is written to one that was removed is lost.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|now| now == self.identity)
    }
}

/// Device and inode.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(path)?;
    Ok(Some((found.dev(), found.ino())))
}

/// A file that is open cannot be removed here.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    fs::metadata(path).map(|_| None)
}
