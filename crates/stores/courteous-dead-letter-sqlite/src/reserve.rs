use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::file::{File, create_new};

/// Room on the disk that letters do not get. It is a file of zeros, which is removed when a claim,
/// a settlement or a purge finds the disk full.
///
/// ```text
///  in place --- a change finds the disk full: remove ---> gone: letters are rejected
///     ^                                                      |
///     `------- a letter comes, and the disk has room --------'
/// ```
///
/// The file has a name, so that all processes of a store share one reserve.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    mode: u32,
}

impl Reserve {
    /// Makes a reserve of `bytes`, but at most an eighth of the disk.
    pub(crate) fn of(file: &File, bytes: u64, mode: u32) -> Self {
        let path = file.beside("-reserve");
        let most = Disk::of(&path).map_or(u64::MAX, |disk| disk.size / 8);
        Self {
            path,
            bytes: bytes.min(most),
            mode,
        }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the reserve is in place, or could be put there. If so, letters may be written. They
    /// may also be written if the reserve cannot be created for a reason other than a full disk.
    pub(crate) fn is_in_place(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let is_full = |error: io::Error| matches!(error.kind(), StorageFull | QuotaExceeded);
        self.bytes == 0 || self.path.exists() || !self.fill().is_err_and(is_full)
    }

    /// Removes the reserve, so that others can use its room. Returns whether it was there.
    pub(crate) fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    fn fill(&self) -> io::Result<()> {
        if !self.has_room() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = create_new(&self.path, self.mode)
            .and_then(|mut file| io::copy(&mut io::repeat(0).take(self.bytes), &mut file));
        match written {
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => {
                self.release();
                Err(error)
            }
            done => done.map(drop),
        }
    }

    /// Whether twice the reserve's size is free. Less would let it be put in place and removed
    /// again and again.
    fn has_room(&self) -> bool {
        Disk::of(&self.path).is_none_or(|disk| disk.free >= self.bytes.saturating_mul(2))
    }
}

/// A disk's size and free room, in bytes.
struct Disk {
    size: u64,
    free: u64,
}

impl Disk {
    /// Finds the disk on which `path` is, if that is possible.
    #[cfg(unix)]
    #[allow(clippy::useless_conversion, reason = "other systems have other types")]
    fn of(path: &Path) -> Option<Self> {
        let disk = nix::sys::statvfs::statvfs(path.parent()?).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size().into());
        Some(Self {
            size: bytes(disk.blocks().into()),
            free: bytes(disk.blocks_available().into()),
        })
    }

    #[cfg(not(unix))]
    fn of(_: &Path) -> Option<Self> {
        None
    }
}
