//! A lock on the database that no other code of this process can release.
//!
//! While a connection is open, SQLite holds a shared lock on the database, so that no other process takes itself for the last
//! one and removes the log. It is a POSIX lock: *any* close of the file in this process releases it, such as that of a
//! copy. A lock of an open file description (OFD) on the same bytes is released only with its own file.

pub(super) use imp::Lock;

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod imp {
    use std::{fs::File, path::Path};

    use nix::{
        fcntl::{FcntlArg, fcntl},
        libc::{F_RDLCK, F_UNLCK, SEEK_SET, c_int, flock},
    };

    /// SQLite's bytes for shared locks ("File Locking And Concurrency" in its documentation): 510 after the pending and the
    /// reserved byte at 1 GiB.
    const SHARED_FIRST: i64 = 0x4000_0000 + 2;
    const SHARED_SIZE: i64 = 510;

    /// It is held until [`release`](Self::release). The file is to be closed after the connection.
    #[derive(Debug)]
    pub(in super::super) struct Lock(Option<File>);

    impl Lock {
        /// The lock on the file at `path`, on which a connection has a lock of its own. On a file system that has none of this
        /// kind, it is no lock.
        pub(in super::super) fn shared(path: &Path) -> Self {
            let file = File::open(path).ok();
            Self(file.filter(|file| set(file, F_RDLCK)))
        }

        /// Lets others have the file for themselves, as the connection is about to be closed.
        pub(in super::super) fn release(&self) {
            if let Some(file) = &self.0 {
                set(file, F_UNLCK);
            }
        }
    }

    fn set(file: &File, kind: c_int) -> bool {
        let lock = flock {
            l_type: kind as _,
            l_whence: SEEK_SET as _,
            l_start: SHARED_FIRST,
            l_len: SHARED_SIZE,
            l_pid: 0,
        };
        fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).is_ok()
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
