//! The rights to read and write the files of a store.

use std::path::Path;

/// Takes away the rights that a file gives beyond `mode`. Does nothing if there is no file.
///
/// # Errors
///
/// Which rights cannot be taken away.
#[cfg(unix)]
pub(crate) fn tighten(path: &Path, mode: u32) -> Result<(), String> {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    const RIGHTS: u32 = 0o777;

    let rights = || fs::metadata(path).map(|found| found.mode() & RIGHTS);
    let Ok(found) = rights() else { return Ok(()) };
    if found & !mode == 0 {
        return Ok(());
    }
    let tightened = fs::set_permissions(path, Permissions::from_mode(found & mode));
    // Some file systems report the change as made, and do not make it.
    if tightened.is_ok() && rights().is_ok_and(|now| now & !mode == 0) {
        return Ok(());
    }
    let owner = fs::metadata(path).map_or(0, |found| found.uid());
    Err(format!(
        "{} has mode {found:04o}, may have {mode:04o}, and cannot be changed by user {}: it belongs to user {owner}",
        path.display(),
        nix::unistd::geteuid(),
    ))
}

#[cfg(not(unix))]
pub(crate) fn tighten(_: &Path, _: u32) -> Result<(), String> {
    Ok(())
}

/// The right that this process lacks to read the store at `path`, or to write to it.
#[cfg(unix)]
pub(crate) fn missing(path: &Path, to_write: bool) -> Option<String> {
    use std::{fs, os::unix::fs::MetadataExt};

    use nix::{
        fcntl::{AT_FDCWD, AtFlags},
        unistd::{AccessFlags, faccessat, geteuid},
    };

    let lacks = |path: &Path, right: AccessFlags, verb: &str| {
        // This does not open the file, as that would release locks.
        let error = faccessat(AT_FDCWD, path, right, AtFlags::AT_EACCESS).err()?;
        let (mode, owner) = fs::metadata(path).map_or((0, 0), |found| (found.mode(), found.uid()));
        Some(format!(
            "user {} may not {verb} {} (mode {:04o}, of user {owner}): {}",
            geteuid(),
            path.display(),
            mode & 0o7777,
            error.desc(),
        ))
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if let Some(lacks) = lacks(folder, AccessFlags::X_OK, "enter") {
        return Some(lacks);
    }
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::path::PathBuf::from(name)
    };
    let (log, index) = (beside("-wal"), beside("-shm"));
    let there = [path, &log, &index]
        .into_iter()
        .filter(|path| path.exists());
    for path in there.clone() {
        if let Some(lacks) = lacks(path, AccessFlags::R_OK, "read") {
            return Some(lacks);
        }
    }
    if to_write {
        for path in there {
            if let Some(lacks) = lacks(path, AccessFlags::W_OK, "write to") {
                return Some(lacks);
            }
        }
    }
    if to_write || log.exists() != index.exists() {
        return lacks(folder, AccessFlags::W_OK, "create a file in");
    }
    None
}

#[cfg(not(unix))]
pub(crate) fn missing(_: &Path, _: bool) -> Option<String> {
    None
}
