use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use courteous_dead_letter::{Clock, SqliteOptions, SqliteStore, StateKind, Store};
use courteous_testkit::{Dice, Process};
use tokio::runtime;

use crate::{claim, number, numbers, push, settle};

/// This test binary again, which only runs `test`, and finds `variables` in its environment.
fn again(test: &str, variables: &[(&str, String)]) -> Process {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", &format!("processes::{test}"), "--nocapture"])
        .envs(variables.iter().cloned())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Process::spawn(&mut command).unwrap()
}

/// One line, whole or not at all.
fn say(line: String) {
    io::stderr()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

/// What the process has said, until it ends; it is killed as soon as it has said so many lines.
fn listen(process: &mut Process, killed_after: usize) -> Vec<String> {
    let output = BufReader::new(process.child().stderr.take().unwrap());
    let mut lines = Vec::new();
    for line in output.lines() {
        lines.push(line.unwrap());
        if lines.len() == killed_after {
            process.kill();
        }
    }
    lines
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// What a process does whose life is short: pushes letters from a number on, while it sends others again.
async fn push_and_replay(path: &Path, first: u32, time: SystemTime) {
    let clock = Clock::fixed(time);
    let store = SqliteOptions::new().with_clock(clock).open(path).unwrap();
    say("open".to_owned());
    let pushing = |from: u32| {
        let store = store.clone();
        async move {
            for start in (0..100).map(|round| first + from + round * 10) {
                push(&store, start..start + 5).await;
                (start..start + 5).for_each(|number| say(format!("kept {number}")));
            }
        }
    };
    let replaying = || {
        let store = store.clone();
        async move {
            let mut idle = 0;
            while idle < 10 {
                let claimed = claim(&store, 3).await;
                idle = if claimed.is_empty() { idle + 1 } else { 0 };
                for record in &claimed {
                    let key = record.letter.key().unwrap().to_str().unwrap();
                    say(format!("sent {} {key}", number(&record.letter)));
                    settle(&store, record).await;
                    say(format!("done {}", number(&record.letter)));
                }
            }
        }
    };
    tokio::join!(pushing(0), pushing(5), replaying(), replaying());
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_sent_under_a_second_key_by_a_process_that_is_killed()
{
    const NAME: &str = "nothing_acknowledged_is_lost_and_nothing_is_sent_under_a_second_key_by_a_process_that_is_killed";
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    if let Some(path) = variable("LETTERS") {
        let hour: u64 = variable("HOUR").unwrap().parse().unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_800_000_000 + hour * 3600);
        let first = u32::try_from(hour).unwrap() * 1000;
        return runtime.block_on(push_and_replay(Path::new(&path), first, time));
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let mut dice = Dice::new(7);
    let (mut kept, mut done) = (BTreeSet::new(), BTreeSet::new());
    let mut sent = BTreeMap::<u32, u32>::new();
    let kills = 20;
    // The leases of one hour's process are over in the next but one's. The last ones live.
    for hour in 0..kills + 3 {
        let variables = [
            ("LETTERS", path.display().to_string()),
            ("HOUR", (2 * hour).to_string()),
        ];
        let mut process = again(NAME, &variables);
        let killed_after = match hour < kills {
            true => 1 + dice.below(600) as usize,
            false => usize::MAX,
        };
        for line in listen(&mut process, killed_after) {
            let mut words = line.split(' ');
            match (words.next().unwrap(), words.next().map(str::parse)) {
                ("kept", Some(Ok(number))) => assert!(kept.insert(number)),
                ("sent", Some(Ok(number))) => {
                    assert_eq!(words.next().unwrap(), format!("key-of-{number}"));
                    assert!(
                        !done.contains(&number),
                        "{number} was settled, and is sent again"
                    );
                    *sent.entry(number).or_default() += 1;
                }
                ("done", Some(Ok(number))) => assert!(done.insert(number)),
                ("open", None) => {}
                _ => panic!("{line}"),
            }
        }
        assert_eq!(process.wait().unwrap().success(), hour >= kills);
    }

    let store = SqliteStore::open(&path).unwrap();
    runtime.block_on(async {
        let there = BTreeSet::from_iter(numbers(&store).await);
        assert!(
            kept.is_subset(&there),
            "lost: {:?}",
            kept.difference(&there)
        );
        let stats = store.stats().await.unwrap();
        assert_eq!(stats.in_state(StateKind::Delivered), stats.total());
        assert!(there.iter().all(|number| sent.contains_key(number)));
        // Each of two replayers was killed with one letter sent and not settled, at the most.
        let twice: u32 = sent.values().map(|times| times - 1).sum();
        assert!(twice <= kills as u32 * 2, "{twice} were sent twice");
        assert!(kept.len() > 3000, "{}", kept.len());
    });
}

#[test]
fn processes_that_open_a_new_file_at_once_share_its_letters() {
    const NAME: &str = "processes_that_open_a_new_file_at_once_share_its_letters";
    const PROCESSES: u32 = 4;
    const LETTERS: u32 = 20;
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    if let Some(path) = variable("LETTERS") {
        let first: u32 = variable("FIRST").unwrap().parse().unwrap();
        return runtime.block_on(async {
            let store = SqliteStore::open(&path).unwrap();
            push(&store, first..first + LETTERS).await;
            loop {
                let claimed = claim(&store, 3).await;
                if claimed.is_empty() {
                    break;
                }
                for record in &claimed {
                    say(format!("{}", number(&record.letter)));
                    settle(&store, record).await;
                }
            }
        });
    }
    for _ in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.db");
        let letters = path.display().to_string();
        let variables = |number: u32| {
            [
                ("LETTERS", letters.clone()),
                ("FIRST", (LETTERS * number).to_string()),
            ]
        };
        let mut processes: Vec<_> = (0..PROCESSES)
            .map(|number| again(NAME, &variables(number)))
            .collect();
        let mut sent: Vec<u32> = Vec::new();
        for process in &mut processes {
            let lines = listen(process, usize::MAX);
            let numbers: Result<Vec<u32>, _> = lines.iter().map(|line| line.parse()).collect();
            sent.extend(numbers.unwrap_or_else(|_| panic!("{}", lines.join("\n"))));
            assert!(process.wait().unwrap().success());
        }
        sent.sort_unstable();
        assert_eq!(
            sent,
            Vec::from_iter(0..PROCESSES * LETTERS),
            "each was sent once"
        );
    }
}

#[cfg(unix)]
#[test]
fn the_files_are_readable_by_their_owner_only_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    const NAME: &str = "the_files_are_readable_by_their_owner_only_whatever_the_umask";
    if let Some(folder) = variable("LETTERS") {
        let folder = PathBuf::from(folder);
        let store = SqliteStore::open(folder.join("letters.db")).unwrap();
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(push(&store, 0..3));
        for name in ["letters.db", "letters.db-wal", "letters.db-shm"] {
            let file = std::fs::metadata(folder.join(name)).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
        }
        return;
    }
    for umask in ["000", "022"] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("sh")
            .args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask])
            .arg(env::current_exe().unwrap())
            .args(["--exact", &format!("processes::{NAME}")])
            .env("LETTERS", folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(folder.path().join("letters.db").exists());
    }
}
