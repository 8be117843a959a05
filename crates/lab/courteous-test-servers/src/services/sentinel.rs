use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{Process, Redis, port::Port, resp, tls::Tls, wait_for};

/// A Redis Sentinel for one test that watches one primary, on a free port of the loopback
/// interface. The Sentinel is stopped when it is dropped.
///
/// This Sentinel alone is a majority. It declares a primary dead that has not answered for half a
/// second, and promotes one of its replicas within some seconds.
pub struct RedisSentinel {
    process: Process,
    program: PathBuf,
    name: String,
    folder: TempDir,
    port: Port,
    tls: Option<Tls>,
}

impl RedisSentinel {
    /// Starts a Sentinel that calls `primary` by `name`, and waits until the Sentinel knows all
    /// replicas of the primary. Returns `None` in the same case as [`Redis::start`].
    ///
    /// If the primary is [secure](Redis::secure), the Sentinel watches it by TLS and listens by TLS
    /// as well.
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
            // The Sentinel tries again after twice this time.
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

    /// The address at which the Sentinel listens. It stays the same after a restart.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The address at which the Sentinel listens by TLS, if it does.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(Tls::address)
    }

    /// Sends the Sentinel a command, as [`Redis::command`] does.
    ///
    /// # Errors
    ///
    /// As [`Redis::command`].
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        resp::command(self.address(), words)
    }

    /// The server that the Sentinel takes for the primary.
    #[must_use]
    pub fn primary(&self) -> SocketAddr {
        let named = self.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.name]);
        let named = named.expect("a Sentinel that knows its primary");
        let address = named.replace('\n', ":").parse();
        address.expect("an address")
    }

    /// Waits until the Sentinel has made `promoted` the primary.
    pub fn await_promotion(&mut self, promoted: &Redis) {
        let promoted = promoted.tls_address().unwrap_or(promoted.address());
        self.await_that(|sentinel| sentinel.primary() == promoted);
    }

    /// Kills the Sentinel. Connections are refused until it is restarted; the port stays reserved.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the Sentinel again on the same port, with what it knew. If the Sentinel is running,
    /// it is killed first.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.program, &self.folder);
        self.hurry();
    }

    /// Hangs the Sentinel (`SIGSTOP`): the machine still accepts connections, and the Sentinel does
    /// not answer.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets the Sentinel continue.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Waits until the Sentinel is ready, and makes it check its servers more often than once in
    /// ten seconds. A Redis before 7.0 cannot do so, and only takes longer.
    fn hurry(&mut self) {
        self.await_that(|sentinel| sentinel.command(&["PING"]).is_ok());
        let looks = ["INFO-PERIOD", "250", "PUBLISH-PERIOD", "250"];
        let _ = self.command(&[&["SENTINEL", "DEBUG"], &looks[..]].concat());
    }

    /// The value of `field` in the Sentinel's report on its primary.
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
/// The file in which the Sentinel saves what it learns.
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
