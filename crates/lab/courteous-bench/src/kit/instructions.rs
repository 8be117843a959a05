use std::{env, fs, io, path::Path, process::Command};

use super::calls::COLLECTED;

/// Whether valgrind is installed.
pub(crate) fn is_available() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Runs this program with `arguments` under callgrind. Returns how many instructions each call of
/// [`collected`](super::collected) took, in order.
pub(crate) fn count(arguments: &[&str]) -> io::Result<Vec<u64>> {
    in_folder(|folder| {
        let dump = format!("--dump-after={COLLECTED}");
        run(&dump, arguments, folder)?;
        // Each call has its own profile, numbered from 1; the profile of all other work has no
        // number.
        (1..)
            .map(|number| folder.join(format!("profile.{number}")))
            .take_while(|profile| profile.exists())
            .map(|profile| total(&fs::read_to_string(profile)?))
            .collect()
    })
}

/// Runs this program with `arguments` under callgrind. Returns how many instructions each function
/// took during all calls of [`collected`](super::collected), most first.
pub(crate) fn profile(arguments: &[&str]) -> io::Result<Vec<(u64, String)>> {
    in_folder(|folder| {
        run("--dump-instr=no", arguments, folder)?;
        let output = Command::new("callgrind_annotate")
            .args(["--threshold=99", "--auto=no"])
            .arg(folder.join("profile"))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(function).collect())
    })
}

/// From a line such as `16,640 (14.2%)  file:function [object]`.
fn function(line: &str) -> Option<(u64, String)> {
    let (count, rest) = line.trim_start().split_once(" (")?;
    let count = count.replace(',', "").parse().ok()?;
    let (_, name) = rest.split_once(')')?;
    let name = name.rsplit_once(" [").map_or(name, |(name, _)| name).trim();
    let name = name.split_once(':').map_or(name, |(_, name)| name);
    (name != "PROGRAM TOTALS").then(|| (count, name.to_owned()))
}

fn total(profile: &str) -> io::Result<u64> {
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| io::Error::other("a profile without totals"))
}

fn in_folder<T>(work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let folder = env::temp_dir().join(format!("courteous-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = work(&folder);
    fs::remove_dir_all(&folder)?;
    result
}

fn run(option: &str, arguments: &[&str], folder: &Path) -> io::Result<()> {
    let profile = folder.join("profile");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COLLECTED}"))
        .arg(option)
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args(arguments)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(said))
}
