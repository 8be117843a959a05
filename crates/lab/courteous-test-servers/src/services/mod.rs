//! Real servers and other processes, started by a test and gone with it.

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

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(5);
/// A server that is not ready after so many looks never will be: 30 s.
const LOOKS: u32 = 6_000;

/// Looks until `found` finds something, for 30 s at the most.
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

/// The folders in which programs are looked for.
fn path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

/// The program `name` in the first of the folders that has it.
fn program<'a>(name: &str, folders: impl IntoIterator<Item = &'a PathBuf>) -> Option<PathBuf> {
    let mut paths = folders.into_iter().map(|folder| folder.join(name));
    paths.find(|path| Path::is_file(path))
}

/// What a test does that lacks a program: it is skipped, loudly, but fails where all must run.
fn missing(program: &str, package: &str) {
    must_not_skip(&format!(
        "no `{program}` here; `apt-get install {package}` has it"
    ));
}

/// Skips a test, loudly, but fails it where all must run.
fn must_not_skip(why: &str) {
    assert!(
        env::var_os("CI").is_none_or(|value| value != "true"),
        "{why}"
    );
    skip(why);
}

/// Skips a test, loudly.
fn skip(why: &str) {
    let test = thread::current();
    let test = test.name().unwrap_or("a test").to_owned();
    // Not by a macro, which the test harness would swallow. There is nobody to tell if this fails.
    let _ = writeln!(io::stderr(), "\nSKIPPED: {test}: {why}\n");
}

fn is_root() -> bool {
    let output = std::process::Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
