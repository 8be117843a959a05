//! Real servers and other processes that a test starts and that end with the test.

mod another_user;
mod cluster;
mod port;
mod postgres;
mod process;
mod redis;
mod resp;
mod sentinel;
mod small_disk;
mod tls;

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

pub use self::{
    another_user::as_another_user, cluster::RedisCluster, postgres::Postgres, process::Process,
    redis::Redis, sentinel::RedisSentinel, small_disk::SmallDisk,
};

/// The pause between two checks.
const PAUSE: Duration = Duration::from_millis(5);
/// The most checks: 30 s in all. A server that is not ready by then never will be.
const LOOKS: u32 = 6_000;

/// Calls `found` until it finds something, for 30 s at most.
fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..LOOKS {
        let seen = found();
        if seen.is_some() {
            return seen;
        }
        pause();
    }
    None
}

#[allow(
    clippy::disallowed_methods,
    reason = "a server is started and stopped outside of any runtime, also in a drop"
)]
fn pause() {
    thread::sleep(PAUSE);
}

/// The folders that are searched for programs.
fn path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

/// The program `name` in the first of the folders that has it.
fn program<'a>(name: &str, folders: impl IntoIterator<Item = &'a PathBuf>) -> Option<PathBuf> {
    let mut paths = folders.into_iter().map(|folder| folder.join(name));
    paths.find(|path| Path::is_file(path))
}

/// Handles a missing program: skips the test with a message, but fails it where all tests must run.
fn missing(program: &str, package: &str) {
    must_not_skip(&format!(
        "no `{program}` here; `apt-get install {package}` has it"
    ));
}

/// Skips a test with a message, but fails it where all tests must run.
fn must_not_skip(why: &str) {
    assert!(
        env::var_os("CI").is_none_or(|value| value != "true"),
        "{why}"
    );
    skip(why);
}

/// Skips a test with a message.
fn skip(why: &str) {
    let test = thread::current();
    let test = test.name().unwrap_or("a test").to_owned();
    // Not with a print macro, as the test harness would swallow its output. A failure here cannot
    // be reported.
    let _ = writeln!(io::stderr(), "\nSKIPPED: {test}: {why}\n");
}

fn is_root() -> bool {
    let output = std::process::Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
