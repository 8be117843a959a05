use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use super::{Process, missing, path, port::Port, program, wait_for};

/// A Postgres cluster for one test, on a free port of the loopback interface. The cluster is
/// stopped when it is dropped.
///
/// The superuser is `postgres`, without a password. The encoding is UTF-8, and what is committed is
/// on disk. All functions block for some seconds, and for 30 s at most.
///
/// Postgres refuses to run as root. If this process runs as root, Postgres runs as `nobody`.
pub struct Postgres {
    process: Process,
    programs: Programs,
    options: Vec<String>,
    folder: TempDir,
    port: Port,
}

impl Postgres {
    /// Starts a cluster. Returns `None` if Postgres is not installed: a message has been printed,
    /// and the test should end. With `CI=true` this function panics instead.
    ///
    /// It looks for Postgres in `PATH`, where `pg_config` says, and in Debian's folders, the newest
    /// version first.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts a cluster with further settings, such as `fsync=off`.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        let Some(programs) = Programs::find() else {
            missing("postgres", "postgresql");
            return None;
        };
        let port = Port::free().expect("a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        if let Some((user, group)) = programs.user {
            chown(&folder, Some(user), Some(group)).expect("a folder of another user");
        }
        programs.initdb(folder.path());
        let options: Vec<_> = settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect();
        let mut postgres = Self {
            process: programs.postgres(folder.path(), &port, &options),
            programs,
            options,
            folder,
            port,
        };
        postgres.await_ready();
        Some(postgres)
    }

    /// The address at which Postgres listens. It stays the same after a restart.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `postgres://postgres@127.0.0.1:port/postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    /// The folder of the socket, for a `host` that is a path.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends Postgres without a word to its clients and without a checkpoint, as `pg_ctl stop -m
    /// immediate` does. Postgres recovers when it starts again. Connections are refused until then;
    /// the port stays reserved.
    pub fn crash(&mut self) {
        self.end("QUIT");
    }

    /// Ends Postgres in good order: its clients' transactions are rolled back, as by `pg_ctl stop
    /// -m fast`.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Starts Postgres again on the same port, with its data. If Postgres is running, it is
    /// [stopped](Self::stop) first.
    pub fn restart(&mut self) {
        self.stop();
        self.process = self
            .programs
            .postgres(self.folder.path(), &self.port, &self.options);
        self.await_ready();
    }

    /// Hangs the process that accepts connections (`SIGSTOP`). Open connections continue.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets the paused process continue.
    pub fn resume(&self) {
        self.process.resume();
    }

    fn end(&mut self, signal: &str) {
        if self.process.is_running() {
            self.process.signal(signal);
            self.process.signal("CONT");
        }
        if self.process.wait().is_none() {
            self.process.kill();
        }
    }

    fn await_ready(&mut self) {
        let state = self.folder.path().join(DATA).join("postmaster.pid");
        let ready = wait_for(|| {
            if !self.process.is_running() {
                return Some(false);
            }
            // `pg_ctl` relies on the eighth line of that file.
            let state = fs::read_to_string(&state).unwrap_or_default();
            let ready = state.lines().nth(7).map(str::trim_end) == Some("ready");
            // The file must not be that of a server that has crashed.
            let id = self.process.id().to_string();
            (ready && state.lines().next() == Some(&*id)).then_some(true)
        });
        assert_eq!(ready, Some(true), "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("address", &self.address())
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

const DATA: &str = "data";
const LOG: &str = "postgres.log";
const USER: &str = "postgres";

/// The installed programs, and the user that runs them.
struct Programs {
    folder: PathBuf,
    /// The user to run as, if this process is root.
    user: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Option<Self> {
        let mut folders = path();
        if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
            folders.push(String::from_utf8_lossy(&output.stdout).trim_end().into());
        }
        folders.extend(debian());
        // Both programs of one version. `initdb` looks for its neighbour in its real folder.
        let postgres = folders.into_iter().find(|folder| {
            ["initdb", "postgres"]
                .iter()
                .all(|name| program(name, [folder]).is_some())
        })?;
        Some(Self {
            folder: postgres,
            user: unprivileged(),
        })
    }

    fn initdb(&self, folder: &Path) {
        let made = self
            .command("initdb", folder)
            .args(["--pgdata", DATA, "--username", USER, "--auth", "trust"])
            .args(["--encoding", "UTF8", "--locale", "C", "--no-sync"])
            .output();
        let Output { status, stderr, .. } = made.expect("an initdb");
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }

    fn postgres(&self, folder: &Path, port: &Port, settings: &[String]) -> Process {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(LOG))
            .expect("a log");
        let mut command = self.command("postgres", folder);
        command
            .args(["-D", DATA, "-h", "127.0.0.1"])
            .args(["-p", &port.address().port().to_string()])
            .arg("-k")
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(log);
        for setting in settings {
            command.args(["-c", setting]);
        }
        Process::spawn(&mut command).expect("a postgres")
    }

    fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.current_dir(folder).stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Debian's folders of all versions, the newest first.
fn debian() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<_> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, path.join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, path)| path).collect()
}

/// The user and group of an unprivileged user, if this process is root.
fn unprivileged() -> Option<(u32, u32)> {
    // A file that we create belongs to our user.
    let ours = tempfile::tempfile().and_then(|file| file.metadata());
    if ours.expect("a temporary file").uid() != 0 {
        return None;
    }
    let number = |option| -> io::Result<u32> {
        let output = Command::new("id").args([option, "nobody"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim_end().parse().map_err(io::Error::other)
    };
    let ids = number("-u").and_then(|user| Ok((user, number("-g")?)));
    Some(ids.expect("a user `nobody`"))
}
