use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    convert::Infallible,
    env,
    io::{self, BufRead, BufReader, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use courteous_dead_letter::{
    Clock, Filter, LetterStore, Page, Payload, Record, Redrive, RedriveOutcome, StateKind,
};
use courteous_dead_letter_sqlite::{SqliteSettings, SqliteStore};
use courteous_test_servers::Process;
use courteous_testkit::Chance;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::runtime;

use crate::{KEY, claim, letter, number, numbers, push, settle};

/// Starts this test binary again. It runs only `test`, and has `variables` in its environment.
fn again(test: &str, variables: &[(&str, String)]) -> Process {
    let test = format!("processes::{test}");
    Process::spawn(&mut command_again(&test, variables)).unwrap()
}

/// Makes the command that runs this test binary again.
pub(crate) fn command_again(test: &str, variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .envs(variables.iter().cloned())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Prints one line, whole or not at all.
pub(crate) fn say(line: String) {
    io::stderr()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

/// Returns the lines that the process prints until it ends. Kills the process as soon as it has
/// printed `killed_after` lines.
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

pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

const REPLAYS: usize = 3;

/// The work of a process with a short life. It pushes letters, numbered from `first`, and redrives
/// the letters that it finds.
async fn push_and_redrive(path: &Path, first: u32, clock: Clock) {
    let settings = SqliteSettings::new().with_clock(clock.clone());
    let store = settings.open(path).unwrap();
    let pushers = Cell::new(2);
    let pushing = async |from: u32| {
        for start in (0..50).map(|round| first + from + round * 10) {
            push(&store, start..start + 5).await;
            (start..start + 5).for_each(|number| say(format!("kept {number}")));
        }
        pushers.update(|pushers| pushers - 1);
    };
    let server = tower::service_fn(async |request: Request<Full<Bytes>>| {
        let order = request.uri().query().unwrap().replace("order=", "");
        let key = request.headers()[KEY].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(letter(order.parse().unwrap()).payload, Payload::Whole(body));
        say(format!("sent {order} {key}"));
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let redrive = Redrive::new()
        .with_concurrency(NonZeroUsize::new(REPLAYS).unwrap())
        .with_key_lifetime(Duration::MAX)
        .with_clock(clock)
        .with_on_progress(|progress| match progress.outcome() {
            RedriveOutcome::Delivered { .. } => say(format!("done {}", progress.id())),
            outcome => say(format!("{outcome:?}")),
        });
    let redriving = async {
        while redrive.run(&store, server).await.unwrap().total() > 0 || pushers.get() > 0 {}
    };
    tokio::join!(pushing(0), pushing(5), redriving);
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_sent_under_a_second_key_by_a_process_that_is_killed()
{
    const NAME: &str = "nothing_acknowledged_is_lost_and_nothing_is_sent_under_a_second_key_by_a_process_that_is_killed";
    const KILLS: u32 = 12;
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    if let Some(path) = variable("LETTERS") {
        let life: u32 = variable("LIFE").unwrap().parse().unwrap();
        // In each life, the claims of the life before have run out.
        let time =
            UNIX_EPOCH + Duration::from_secs(1_800_000_000) + life * Duration::from_secs(3600);
        return runtime.block_on(push_and_redrive(
            Path::new(&path),
            life * 1000,
            Clock::fixed(time),
        ));
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let mut chance = Chance::new(7);
    let mut said = Vec::new();
    for life in 0..=KILLS {
        let variables = [
            ("LETTERS", path.display().to_string()),
            ("LIFE", life.to_string()),
        ];
        let mut process = again(NAME, &variables);
        let killed_after = match life < KILLS {
            true => 1 + chance.below(400) as usize,
            false => usize::MAX,
        };
        said.extend(listen(&mut process, killed_after));
        assert_eq!(
            process.wait().unwrap().success(),
            life == KILLS,
            "{}",
            said.join("\n")
        );
    }

    let store = SqliteStore::open(&path).unwrap();
    let all = store.list(Filter::new(), Page::first(u32::MAX));
    let records = runtime.block_on(all).unwrap();
    let numbers: HashMap<_, _> = records
        .iter()
        .map(|record| (record.letter.id.to_string(), number(&record.letter)))
        .collect();
    let (mut kept, mut done, mut sent) = (HashSet::new(), HashSet::new(), HashMap::new());
    for line in &said {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["kept", number] => assert!(kept.insert(number.parse::<u32>().unwrap())),
            ["sent", number, key] => {
                assert_eq!(key, format!("key-of-{number}"));
                let number: u32 = number.parse().unwrap();
                assert!(
                    !done.contains(&number),
                    "{number} was delivered, and is sent again"
                );
                *sent.entry(number).or_insert(0) += 1;
            }
            ["done", id] => assert!(done.insert(numbers[id])),
            _ => panic!("{line}"),
        }
    }
    let there: HashSet<u32> = numbers.into_values().collect();
    assert!(
        kept.is_subset(&there),
        "lost: {:?}",
        kept.difference(&there)
    );
    assert!(
        there.iter().all(|number| sent.contains_key(number)),
        "each was sent"
    );
    let is_delivered = |record: &Record| record.state.kind() == StateKind::Delivered;
    assert!(records.iter().all(is_delivered));
    // These letters were under way when their process was killed.
    let twice: u32 = sent.values().map(|times| times - 1).sum();
    assert!(twice <= KILLS * REPLAYS as u32, "{twice} were sent twice");
    assert!(kept.len() > 1000, "{} were pushed", kept.len());
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

/// A process that opens a file once more must not lose its locks on that file. Otherwise another
/// process would believe that it is the last user, and remove the log. The newest SQLite looks
/// twice before it does that. The oldest SQLite that is allowed here does not.
#[test]
fn opening_a_file_once_more_does_not_hide_it_from_other_processes() {
    const NAME: &str = "opening_a_file_once_more_does_not_hide_it_from_other_processes";
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    if let Some(path) = variable("LETTERS") {
        let store = SqliteStore::open(&path).unwrap();
        runtime.block_on(push(&store, 10..20));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.db");
    let one = SqliteStore::open(&path).unwrap();
    runtime.block_on(push(&one, 0..10));
    let two = SqliteStore::open(&path).unwrap();
    let mut other = again(NAME, &[("LETTERS", path.display().to_string())]);
    assert!(other.wait().unwrap().success());
    assert!(folder.path().join("letters.db-wal").exists());
    runtime.block_on(push(&one, 20..30));
    drop((one, two));
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(runtime.block_on(numbers(&store)), Vec::from_iter(0..30));
}

/// To SQLite, the first two names are a database in memory and a URI. A test must not change its
/// own directory.
#[test]
fn a_name_is_a_name() {
    const NAME: &str = "a_name_is_a_name";
    let names = [":memory:", "file:letters.db?mode=memory", "ünïcödé %41.db"];
    if variable("LETTERS").is_some() {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        for name in names {
            let store = SqliteStore::open(name).unwrap();
            runtime.block_on(push(&store, 0..1));
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", &format!("processes::{NAME}")])
        .env("LETTERS", "")
        .current_dir(folder.path());
    assert!(command.output().unwrap().status.success());
    for name in names {
        let length = std::fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(length > 0, "{name}");
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
