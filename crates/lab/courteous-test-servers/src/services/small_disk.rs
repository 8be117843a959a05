use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::must_not_skip;

/// An in-memory disk of a given size. The disk is gone when this value is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a disk at `folder`, and creates the folder. Returns `None` if this test may not mount
    /// a disk. Then a message is printed, and the test fails where all tests must run.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created.
    pub fn mount(folder: &Path, bytes: u64) -> io::Result<Option<Self>> {
        fs::create_dir(folder)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Ok(Some(Self(folder.to_owned())));
        }
        must_not_skip("this user cannot mount a disk");
        Ok(None)
    }

    /// The folder where the disk is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as a file may still be open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
