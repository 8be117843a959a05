use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{Process, missing, path, port::Port, program, resp, tls::Tls, wait_for};

/// A `redis-server` for one test, on a free port of the loopback interface. The server is stopped
/// when it is dropped.
///
/// All functions block for some milliseconds, and for 30 s at most.
///
/// ```
/// use courteous_test_servers::Redis;
///
/// let Some(mut redis) = Redis::start() else {
///     return Ok(()); // skipped: it has said so
/// };
/// redis.command(&["SET", "key", "value"])?;
/// redis.restart();
/// assert_eq!(redis.command(&["GET", "key"])?, ""); // it keeps nothing
/// # std::io::Result::Ok(())
/// ```
pub struct Redis {
    process: Process,
    program: PathBuf,
    options: Vec<String>,
    folder: TempDir,
    port: Port,
    tls: Option<Tls>,
}

impl Redis {
    /// Starts a server that keeps its data in memory only. Returns `None` if there is no
    /// `redis-server`: a message has been printed, and the test should end. With `CI=true` this
    /// function panics instead.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts a server that has written each command to disk before it answers.
    #[must_use]
    pub fn persistent() -> Option<Self> {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server with further `options`, as on its command line.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Option<Self> {
        let program = Self::program()?;
        let port = Port::free().expect("a free port");
        Some(Self::start_at(program, port, options))
    }

    /// Starts a server that also listens by TLS at [another port](Self::tls_address). Its replicas
    /// copy it by TLS. The folder `certificates` holds `ca.crt`, `server.crt` and `server.key`, as
    /// PEM. The server does not ask clients for a certificate, unless an option says so.
    ///
    /// Also returns `None` if the `redis-server` was built without TLS.
    #[must_use]
    pub fn secure(certificates: &Path, options: &[&str]) -> Option<Self> {
        let program = Self::program_with_tls()?;
        let (port, tls) = (Port::free(), Port::free());
        let tls = Tls::new(tls.expect("a free port"), certificates);
        let port = port.expect("a free port");
        Some(Self::secure_at(program, port, tls, options))
    }

    pub(super) fn program() -> Option<PathBuf> {
        let found = program("redis-server", &path());
        if found.is_none() {
            missing("redis-server", "redis-server");
        }
        found
    }

    pub(super) fn program_with_tls() -> Option<PathBuf> {
        let found = Self::program()?;
        if !Tls::is_known(&found) {
            missing("redis-server with TLS", "redis-server");
            return None;
        }
        Some(found)
    }

    pub(super) fn secure_at(program: PathBuf, port: Port, tls: Tls, options: &[&str]) -> Self {
        let settings = tls.settings();
        let mut all: Vec<_> = settings
            .iter()
            .flat_map(|(name, value)| [&**name, value])
            .collect();
        all.extend(options);
        let mut redis = Self::start_at(program, port, &all);
        redis.tls = Some(tls);
        redis
    }

    pub(super) fn start_at(program: PathBuf, port: Port, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let mut redis = Self {
            process: spawn(&program, &port, &folder, &options),
            program,
            options,
            folder,
            port,
            tls: None,
        };
        redis.await_ready();
        redis
    }

    /// The address at which the server listens. It stays the same after a restart.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The address at which the server listens by TLS, if it does.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(Tls::address)
    }

    pub(super) const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Sends a command and returns the reply's text. An array gives the text of its elements line
    /// by line, and nil gives the empty text.
    ///
    /// # Errors
    ///
    /// If the server answers with an error, whose text is the error's text, or does not answer
    /// within 10 s.
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        resp::command(self.address(), words)
    }

    /// The value of `field` in the server's `INFO`.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command), and if there is no such field.
    pub fn info(&self, field: &str) -> io::Result<String> {
        let info = self.command(&["INFO", "everything"])?;
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(name, _)| *name == field);
        let (_, value) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(value.trim_end().to_owned())
    }

    /// Kills the server. Connections are refused until it is restarted; the port stays reserved.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again on the same port, with the data that it has written to disk. If the
    /// server is running, it is killed first.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.program, &self.port, &self.folder, &self.options);
        self.await_ready();
    }

    /// Hangs the server (`SIGSTOP`): the machine still accepts connections, and the server does not
    /// answer.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets the server continue. It then answers the commands that it was sent in the meantime.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Makes this server a replica of `primary`, and waits until it has all of the primary's data.
    pub fn replicate(&self, primary: &Self) {
        let primary = primary.tls_address().unwrap_or(primary.address());
        let (host, port) = (primary.ip().to_string(), primary.port().to_string());
        let followed = self.command(&["REPLICAOF", &host, &port]);
        followed.expect("a replica");
        let in_step = || {
            self.info("master_link_status")
                .is_ok_and(|link| link == "up")
        };
        wait_for(|| in_step().then_some(())).expect("a replica that is in step");
    }

    /// Makes this server a primary, with the data that it has.
    pub fn promote(&self) {
        let promoted = self.command(&["REPLICAOF", "NO", "ONE"]);
        promoted.expect("a primary");
    }

    fn await_ready(&mut self) {
        let ready = wait_for(|| {
            if !self.process.is_running() {
                return Some(false);
            }
            let pong = self.command(&["PING"]);
            pong.is_ok_and(|pong| pong == "PONG").then_some(true)
        });
        assert_eq!(ready, Some(true), "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }
}

const LOG: &str = "redis.log";

fn spawn(program: &PathBuf, port: &Port, folder: &TempDir, options: &[String]) -> Process {
    let port = port.address().port().to_string();
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .args(["--port", &port, "--bind", "127.0.0.1", "--logfile", LOG])
        .args(["--save", "", "--appendonly", "no"])
        // A replica is in step at once, and not only after five seconds.
        .args(["--repl-diskless-sync-delay", "0"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::spawn(&mut command).expect("a redis-server")
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("address", &self.address())
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
