use std::{path::Path, process::Command};

use super::{is_root, missing, must_not_skip, path, program};

/// A user that owns no file.
const USER: &str = "65534";

/// A command that runs `program` as another user, with only the rights that every user has. `None`
/// if this test may not become another user. Then a message is printed, and the test fails where
/// all tests must run.
///
/// The other user needs the right to read `program` and to enter its folders.
#[must_use]
pub fn as_another_user(executable: &Path) -> Option<Command> {
    if !is_root() {
        must_not_skip("only root can become another user");
        return None;
    }
    if program("setpriv", &path()).is_none() {
        missing("setpriv", "util-linux");
        return None;
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
        .arg(executable);
    Some(command)
}
