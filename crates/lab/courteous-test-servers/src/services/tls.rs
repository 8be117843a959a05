use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::port::Port;

/// How a Redis or a Sentinel listens by TLS.
#[derive(Debug)]
pub(super) struct Tls {
    port: Port,
    certificates: PathBuf,
}

impl Tls {
    pub(super) fn new(port: Port, certificates: &Path) -> Self {
        Self {
            port,
            certificates: certificates.to_owned(),
        }
    }

    /// Whether a `redis-server` was built with TLS. A server without TLS does not know the option.
    pub(super) fn is_known(program: &Path) -> bool {
        let nowhere = Command::new(program)
            .args(["--port", "0", "--tls-port", "0"])
            .output();
        let said = nowhere.expect("a redis-server").stdout;
        String::from_utf8_lossy(&said).contains("not listen anywhere")
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(super) fn certificates(&self) -> &Path {
        &self.certificates
    }

    /// Options of a command line. Without their dashes, they are lines of a configuration file.
    pub(super) fn settings(&self) -> [(String, String); 6] {
        let file = |name| self.certificates.join(name).display().to_string();
        [
            ("port", self.address().port().to_string()),
            ("ca-cert-file", file("ca.crt")),
            ("cert-file", file("server.crt")),
            ("key-file", file("server.key")),
            ("auth-clients", String::from("no")),
            ("replication", String::from("yes")),
        ]
        .map(|(name, value)| (format!("--tls-{name}"), value))
    }
}
