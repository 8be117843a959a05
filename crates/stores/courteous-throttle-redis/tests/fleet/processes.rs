//! The workers are processes, as `SIGSTOP` stops all threads of a process wherever they are.
//! Workers report when they sent, by the clock that all processes of a machine share.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use courteous_test_servers::{
    Fleet, Load, Process, Redis, Sends, Sent, await_that, machine_clock, stand_still,
};

use crate::support::{bucket, quota};

const WORKERS: usize = 4;
/// If this variable is set, the test is one of the workers.
const URL: &str = "COURTEOUS_TEST_WORKER_OF";

#[test]
fn processes_that_are_stopped_for_600_ms() {
    if let Ok(url) = env::var(URL) {
        work(&url);
        return;
    }
    let Some(redis) = Redis::start() else { return };
    let sends = Sends::new();
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| worker(number, &redis.url(), &sends))
        .collect();
    each_sends(&sends, 20);
    for stopped in [1, 2, WORKERS] {
        workers[..stopped].iter().for_each(Process::pause);
        stand_still(Duration::from_millis(600));
        workers[..stopped].iter().for_each(Process::resume);
        each_sends(&sends, 10);
    }
    drop(workers);
    sends.assert_within(quota());
}

fn each_sends(sends: &Sends, count: usize) {
    let since = machine_clock();
    let sent = || sends.by_worker(WORKERS, since);
    let done = await_that(|| sent().iter().all(|&sent| sent >= count));
    assert!(done, "{:?}", sent());
}

/// Starts this test again as a worker, and reads its reports.
fn worker(number: usize, url: &str, sends: &Sends) -> Process {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", thread::current().name().unwrap()])
        .env(URL, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Process::spawn(&mut command).unwrap();
    let reports = BufReader::new(process.child().stdout.take().unwrap());
    let sends = sends.clone();
    thread::spawn(move || {
        // Other lines are not reports of the worker.
        let lines = reports.lines().map_while(Result::ok);
        for (after, by) in lines.filter_map(|line| parsed(&line)) {
            let worker = number;
            sends.push(Sent { worker, after, by });
        }
    });
    process
}

fn parsed(line: &str) -> Option<(u64, u64)> {
    let (after, by) = line.split_once(' ')?;
    Some((after.parse().ok()?, by.parse().ok()?))
}

/// Sends and reports until it is killed.
fn work(url: &str) {
    let fleet = Fleet::start(1, Load::default(), |_| bucket(url, quota()));
    let mut reported = 0;
    loop {
        let sends = fleet.sends().all();
        // This does not use a print macro, as the test harness would swallow its output.
        let mut out = io::stdout().lock();
        for Sent { after, by, .. } in &sends[reported..] {
            if writeln!(out, "{after} {by}").is_err() {
                return;
            }
        }
        drop(out);
        reported = sends.len();
        stand_still(Duration::from_millis(5));
    }
}
