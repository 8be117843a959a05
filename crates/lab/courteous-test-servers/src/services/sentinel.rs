use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{Process, Redis, port::Port, resp, tls::Tls, wait_for};

/// A Redis Sentinel of a test's own that watches one primary, on a free port of the loopback interface. It is stopped when
/// it is dropped.
///
/// It is a majority by itself: it takes a primary that has not answered for half a second for dead, and has a replica of
/// it promoted within some seconds.
pub struct RedisSentinel {
    process: Process,
    program: PathBuf,
    name: String,
    folder: TempDir,
    port: Port,
    tls: Option<Tls>,
}

impl RedisSentinel {
    /// Starts one that calls `primary` by `name`, and waits until it knows all replicas that the primary has. `None` as of
    /// [`Redis::start`].
    ///
    /// A primary that is [secure](Redis::secure) is watched by TLS, and then the Sentinel listens by TLS as well.
    #[must_use]
    pub fn start(name: &str, primary: &Redis) -> Option<Self> {
        let program = Redis::program()?;
        let port = Port::free().expect("a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let watched = primary.tls_address().unwrap_or(primary.address());
        let (host, watched_port) = (watched.ip(), watched.port());
        let mut lines = vec![
            format!("port {}", port.address().port()),
            String::from("bind 127.0.0.1"),
            format!("logfile {LOG}"),
            format!("sentinel monitor {name} {host} {watched_port} 1"),
            format!("sentinel down-after-milliseconds {name} 500"),
            // It tries again after twice as long.
            format!("sentinel failover-timeout {name} 2000"),
        ];
        let tls = primary.tls().map(|tls| {
            let port = Port::free().expect("a free port");
            Tls::new(port, tls.certificates())
        });
        let settings = tls.iter().flat_map(Tls::settings);
        lines.extend(settings.map(|(name, value)| format!("{} {value}", &name[2..])));
        fs::write(folder.path().join(SETTINGS), lines.join("\n")).expect("a file");
        let mut sentinel = Self {
            process: spawn(&program, &folder),
            program,
            name: name.to_owned(),
            folder,
            port,
            tls,
        };
        sentinel.hurry();
        let replicas = primary.info("connected_slaves").expect("a primary");
        let known = |sentinel: &Self| sentinel.watched("num-slaves").ok();
        sentinel.await_that(|sentinel| known(sentinel).as_ref() == Some(&replicas));
        Some(sentinel)
    }

    /// Where it listens, also after a restart.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Where it listens by TLS, if it does.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(Tls::address)
    }

    /// Sends it a command, as [`Redis::command`] does.
    ///
    /// # Errors
    ///
    /// As of that.
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        resp::command(self.address(), words)
    }

    /// Whom it takes for the primary.
    #[must_use]
    pub fn primary(&self) -> SocketAddr {
        let named = self.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.name]);
        let named = named.expect("a Sentinel that knows its primary");
        let address = named.replace('\n', ":").parse();
        address.expect("an address")
    }

    /// Waits until it has made `promoted` the primary.
    pub fn await_promotion(&mut self, promoted: &Redis) {
        let promoted = promoted.tls_address().unwrap_or(promoted.address());
        self.await_that(|sentinel| sentinel.primary() == promoted);
    }

    /// Kills it. Connections are refused until it is restarted; the port stays its own.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, with what it knew. It is killed if it runs.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.program, &self.folder);
        self.hurry();
    }

    /// Hangs it (`SIGSTOP`): connections are still accepted, by its machine, and nobody answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Waits until it is ready, and has it look at its servers more often than once in ten seconds. A Redis before 7.0
    /// cannot, and only takes longer.
    fn hurry(&mut self) {
        self.await_that(|sentinel| sentinel.command(&["PING"]).is_ok());
        let looks = ["INFO-PERIOD", "250", "PUBLISH-PERIOD", "250"];
        let _ = self.command(&[&["SENTINEL", "DEBUG"], &looks[..]].concat());
    }

    /// What it says of `field` of its primary.
    fn watched(&self, field: &str) -> io::Result<String> {
        let fields = self.command(&["SENTINEL", "MASTER", &self.name])?;
        let mut fields = fields.lines();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            if name == field {
                return Ok(value.to_owned());
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn await_that(&mut self, is_so: impl Fn(&Self) -> bool) {
        let so = wait_for(|| match self.process.is_running() {
            true => is_so(self).then_some(true),
            false => Some(false),
        });
        assert_eq!(so, Some(true), "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }
}

const LOG: &str = "sentinel.log";
/// It writes there what it comes to know.
const SETTINGS: &str = "sentinel.conf";

fn spawn(program: &PathBuf, folder: &TempDir) -> Process {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .args([SETTINGS, "--sentinel"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::spawn(&mut command).expect("a redis-server")
}

impl fmt::Debug for RedisSentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSentinel")
            .field("address", &self.address())
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
