use std::fmt;

#[cfg(feature = "tls")]
use redis::ConnectionAddr;
use redis::{ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError};

/// A URL that cannot be that of a Redis server.
#[derive(Debug)]
pub struct InvalidUrl {
    reason: String,
}

impl InvalidUrl {
    /// Keeps only the parts of the error that are the same for all URLs: other parts may hold a
    /// password.
    pub(crate) fn new(error: RedisError) -> Self {
        let reason = match (error.kind(), error.detail()) {
            (ErrorKind::InvalidClientConfig, None) => error.to_string(),
            (kind, _) => format!("{kind:?}"),
        };
        Self { reason }
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid Redis URL: {}", self.reason)
    }
}

impl std::error::Error for InvalidUrl {}

/// Reads a URL.
pub(crate) fn read(url: &str) -> Result<ConnectionInfo, InvalidUrl> {
    let info = url.into_connection_info().map_err(InvalidUrl::new)?;
    #[cfg(feature = "tls")]
    check_tls(&info)?;
    Ok(info)
}

/// Makes a client that uses these certificates. Returns `None` if the connection does not use TLS.
#[cfg(feature = "tls")]
pub(crate) fn secured(
    info: ConnectionInfo,
    certificates: &redis::TlsCertificates,
) -> Option<redis::Client> {
    let ConnectionAddr::TcpTls { .. } = info.addr() else {
        return None;
    };
    redis::Client::build_with_tls(info, certificates.clone()).ok()
}

/// Finds faults that make TLS impossible from the beginning.
#[cfg(feature = "tls")]
fn check_tls(info: &ConnectionInfo) -> Result<(), InvalidUrl> {
    let ConnectionAddr::TcpTls { insecure, .. } = info.addr() else {
        return Ok(());
    };
    let reason = if *insecure {
        "certificates are always checked"
    } else if rustls::crypto::CryptoProvider::get_default().is_none() {
        // The client would panic when it connects.
        "rustls has no process-wide crypto provider yet: see `CryptoProvider::install_default`"
    } else {
        return Ok(());
    };
    Err(InvalidUrl {
        reason: reason.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_is_rejected_with_a_reason_and_without_its_password() {
        for (url, reason) in [
            ("redis:geheim", "hostname"),
            ("http://user:geheim@host", "did not parse"),
            ("redis://user:geheim@", "did not parse"),
            ("redis://user:geheim@host/first", "database"),
            ("redis://user:geheim@0.0.0.0", "wildcard"),
            (
                "redis://user:geheim@host?protocol=geheim",
                "InvalidClientConfig",
            ),
        ] {
            let error = read(url).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains(reason), "{url}: {said}");
            assert!(!said.contains("geheim"), "{url}: {said}");
        }
    }
}
