use std::fmt;

use redis::{ClientTlsConfig, TlsCertificates};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

/// The certificates for connections with TLS: the authorities to trust, and the client's own.
///
/// Without these settings, connections trust the system's certificate authorities, and show no
/// client certificate.
///
/// ```no_run
/// use courteous_throttle_redis::{Redis, Tls};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Once, when the program begins:
/// // `rustls::crypto::ring::default_provider().install_default()`, or another one.
/// let tls = Tls::new()
///     .with_roots(std::fs::read("ca.pem")?)
///     .with_identity(std::fs::read("client.pem")?, std::fs::read("client.key")?);
/// let redis = Redis::open("rediss://redis.internal:6379")?.with_tls(&tls)?;
/// # let _ = redis;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    roots: Option<Vec<u8>>,
    identity: Option<Identity>,
}

#[derive(Clone)]
struct Identity {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Trusts the system's certificate authorities, and has no client certificate.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            roots: None,
            identity: None,
        }
    }

    /// Trusts the certificate authorities in `pem`, and no others.
    #[must_use]
    pub fn with_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Sets a client certificate, for servers that ask for one. `chain` begins with the certificate
    /// itself, and `key` is its private key. Both are PEM.
    #[must_use]
    pub fn with_identity(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let (chain, key) = (chain.into(), key.into());
        self.identity = Some(Identity { chain, key });
        self
    }

    /// Builds the certificates. Every fault that could show at the first connection shows here.
    pub(crate) fn certificates(&self) -> Result<TlsCertificates, InvalidTls> {
        if let Some(roots) = &self.roots {
            check_roots(roots).ok_or(InvalidTls::Roots)?;
        }
        if let Some(identity) = &self.identity {
            identity.check().ok_or(InvalidTls::Identity)?;
        }
        Ok(TlsCertificates {
            client_tls: self.identity.clone().map(|identity| ClientTlsConfig {
                client_cert: identity.chain,
                client_key: identity.key,
            }),
            root_cert: self.roots.clone(),
        })
    }
}

// The text of these errors is dropped, as it may hold a part of the key.
fn check_roots(pem: &[u8]) -> Option<()> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem) {
        store.add(root.ok()?).ok()?;
    }
    (!store.is_empty()).then_some(())
}

impl Identity {
    fn check(&self) -> Option<()> {
        let chain = CertificateDer::pem_slice_iter(&self.chain).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(&self.key).ok()?;
        // Without a provider, no URL begins with `rediss://`, and the caller reports that instead.
        if let Some(provider) = CryptoProvider::get_default() {
            CertifiedKey::from_der(chain.ok()?, key, provider).ok()?;
        }
        Some(())
    }
}

// The key is secret.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("has_roots", &self.roots.is_some())
            .field("has_identity", &self.identity.is_some())
            .finish()
    }
}

/// TLS settings that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTls {
    /// No URL begins with `rediss://`.
    Plain,
    /// The PEM of the roots has no certificate, or has a certificate that cannot be read.
    Roots,
    /// The PEM of the identity has no certificate or no private key, one of them cannot be read, or
    /// they do not belong together.
    Identity,
}

impl fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "TLS is set for a Redis whose URL does not begin with `rediss://`",
            Self::Roots => "the roots are not PEM of certificate authorities",
            Self::Identity => {
                "the identity is not PEM of a certificate and of the private key that belongs to it"
            }
        })
    }
}

impl std::error::Error for InvalidTls {}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;
    use crate::Redis;

    fn certificate() -> (String, String) {
        let names = [String::from("localhost")];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn certificates_that_cannot_be_used_are_rejected_when_they_are_set() {
        // Another test may have installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ((cert, key), (_, other_key)) = (certificate(), certificate());
        let broken = cert.replacen("\nMII", "\n?II", 1);
        let not_one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let link = || Redis::open("rediss://localhost").unwrap();
        let set = |tls: Tls| link().with_tls(&tls).map(drop);
        let and_one = format!("{cert}{not_one}");
        for roots in ["", "what is not PEM", &*key, &*broken, not_one, &*and_one] {
            let rejected = set(Tls::new().with_roots(roots));
            assert_eq!(rejected, Err(InvalidTls::Roots), "{roots}");
        }
        assert_eq!(set(Tls::new().with_roots(format!("{cert}{cert}"))), Ok(()));
        for (chain, key) in [
            ("", &*key),
            ("what is not PEM", &*key),
            (&*broken, &*key),
            (not_one, &*key),
            (&*cert, ""),
            (&*cert, "what is not PEM"),
            (&*cert, &*cert),
            (&*cert, &*other_key),
        ] {
            let rejected = set(Tls::new().with_identity(chain, key));
            assert_eq!(rejected, Err(InvalidTls::Identity), "{chain} {key}");
        }
        assert_eq!(set(Tls::new().with_identity(cert, key)), Ok(()));
        assert_eq!(set(Tls::new()), Ok(()));
        let plain = Redis::open("redis://localhost").unwrap();
        let rejected = plain.with_tls(&Tls::new()).unwrap_err();
        assert_eq!(rejected, InvalidTls::Plain);
    }
}
