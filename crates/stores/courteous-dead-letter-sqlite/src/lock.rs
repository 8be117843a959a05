//! A lock on the database that no other code of this process can release.
//!
//! While a connection is open, SQLite holds a shared lock on the database. The lock keeps other
//! processes from believing that they are the last user, and removing the log. It is a POSIX lock:
//! *any* close of the file in this process releases it, such as the close after a copy. A lock of
//! an open file description (OFD) on the same bytes is released only with its own file.

pub(crate) use imp::Lock;

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod imp {
    use std::{
        fs::{self, File},
        mem,
        os::unix::fs::MetadataExt,
        path::Path,
        sync::{Mutex, MutexGuard, PoisonError},
    };

    use nix::{
        errno::Errno,
        fcntl::{FcntlArg, fcntl},
        libc::{F_RDLCK, F_UNLCK, SEEK_SET, c_int, flock},
    };

    /// SQLite's bytes for shared locks ("File Locking And Concurrency" in its documentation): 510
    /// after the pending and the reserved byte at 1 GiB.
    const SHARED_FIRST: i64 = 0x4000_0000 + 2;
    const SHARED_SIZE: i64 = 510;

    /// A lock that is held until [`release`](Self::release). Its file must be closed after the
    /// connection.
    #[derive(Debug)]
    pub(in super::super) struct Lock(Option<File>);

    impl Lock {
        /// Locks the file at `path`, on which a connection has its own lock. On a file system
        /// without such locks, it locks nothing.
        pub(in super::super) fn shared(path: &Path) -> Self {
            Self::with(path, |file| set(file, F_RDLCK))
        }

        fn with(path: &Path, lock: impl FnOnce(&File) -> Result<(), Errno>) -> Self {
            let is_without = |device| without().contains(&device);
            let Ok(device) = fs::metadata(path).map(|found| found.dev()) else {
                return Self(None);
            };
            let Some(file) = (!is_without(device))
                .then(|| File::open(path).ok())
                .flatten()
            else {
                return Self(None);
            };
            match lock(&file) {
                // Another process holds the lock for now. The file must not be closed while the
                // connection is open.
                Ok(()) | Err(Errno::EAGAIN | Errno::EACCES) => Self(Some(file)),
                Err(_) => {
                    without().push(device);
                    // To close the file would release SQLite's locks on it. So it stays open. This
                    // happens once for each file system.
                    mem::forget(file);
                    Self(None)
                }
            }
        }

        /// Lets other processes lock the file exclusively, as the connection is about to be closed.
        pub(in super::super) fn release(&self) {
            if let Some(file) = &self.0 {
                let _ = set(file, F_UNLCK);
            }
        }
    }

    /// The file systems that have no such locks, by their device.
    static WITHOUT: Mutex<Vec<u64>> = Mutex::new(Vec::new());

    fn without() -> MutexGuard<'static, Vec<u64>> {
        WITHOUT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(file: &File, kind: c_int) -> Result<(), Errno> {
        let lock = flock {
            l_type: kind as _,
            l_whence: SEEK_SET as _,
            l_start: SHARED_FIRST,
            l_len: SHARED_SIZE,
            l_pid: 0,
        };
        fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
    }

    #[cfg(test)]
    mod tests {
        use nix::libc::F_WRLCK;
        use rusqlite::Connection;

        use super::*;

        #[test]
        fn a_lock_that_fails_leaves_the_lock_of_the_connection_as_it_was() {
            let folder = tempfile::tempdir().unwrap();
            for error in [Errno::EAGAIN, Errno::EINVAL] {
                let path = folder.path().join(format!("{error:?}.db"));
                let connection = Connection::open(&path).unwrap();
                let wal = "PRAGMA journal_mode = WAL; CREATE TABLE t (a)";
                connection.execute_batch(wal).unwrap();
                let lock = Lock::with(&path, |_| Err(error));
                if error == Errno::EINVAL {
                    let again = Lock::with(&path, |_| unreachable!());
                    assert!(again.0.is_none(), "it is opened once");
                    without().clear();
                }
                let file = File::options().write(true).open(&path).unwrap();
                let is_locked = set(&file, F_WRLCK).is_err();
                assert!(is_locked, "{error}");
                drop(connection);
                drop(lock);
            }
        }
    }
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod imp {
    use std::path::Path;

    #[derive(Debug)]
    pub(in super::super) struct Lock;

    impl Lock {
        pub(in super::super) const fn shared(_: &Path) -> Self {
            Self
        }

        pub(in super::super) const fn release(&self) {}
    }
}
