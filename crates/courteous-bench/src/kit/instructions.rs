use std::{env, fs, io, path::Path, process::Command};

use super::calls::COLLECTED;

/// Whether valgrind is installed.
pub(crate) fn is_available() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Runs this program with `arguments` under callgrind, and tells how many instructions each call of
/// [`collected`](super::collected) took, in order.
pub(crate) fn count(arguments: &[&str]) -> io::Result<Vec<u64>> {
    let folder = env::temp_dir().join(format!("courteous-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let counts = run(arguments, &folder);
    fs::remove_dir_all(&folder)?;
    counts
}

fn run(arguments: &[&str], folder: &Path) -> io::Result<Vec<u64>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COLLECTED}"))
        .arg(format!("--dump-after={COLLECTED}"))
        .arg(format!(
            "--callgrind-out-file={}",
            folder.join("profile").display()
        ))
        .arg(env::current_exe()?)
        .args(arguments)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(said));
    }
    // Each call is a profile of its own, numbered from 1; the one of the rest has no number.
    (1..)
        .map(|number| folder.join(format!("profile.{number}")))
        .take_while(|profile| profile.exists())
        .map(|profile| {
            let profile = fs::read_to_string(profile)?;
            let total = profile
                .lines()
                .find_map(|line| line.strip_prefix("totals: "));
            total
                .and_then(|total| total.trim().parse().ok())
                .ok_or_else(|| io::Error::other("a profile without totals"))
        })
        .collect()
}
