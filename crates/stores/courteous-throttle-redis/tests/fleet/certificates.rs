//! A test's own certificates.

use std::{fs, path::Path};

use courteous_throttle_redis::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// A certificate authority that a test's servers and clients trust.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority that no other program knows, whatever its name. Also installs a crypto
    /// provider, so that this process can use TLS.
    pub(crate) fn new(name: &str) -> Self {
        // Another test may have installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut authority = params(name, &[]);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            issuer: CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    /// Makes a folder with the files of a server that is known by `names`.
    pub(crate) fn server(&self, names: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = self.issue("a server", names);
        for (name, pem) in [
            ("ca.crt", self.issuer.pem()),
            ("server.crt", certificate),
            ("server.key", key),
        ] {
            fs::write(Path::new(folder.path()).join(name), pem).unwrap();
        }
        folder
    }

    /// A certificate and its private key.
    pub(crate) fn client(&self) -> (String, String) {
        self.issue("a client", &[])
    }

    /// Makes settings that trust only this authority.
    pub(crate) fn trusted(&self) -> Tls {
        Tls::new().with_roots(self.issuer.pem())
    }

    fn issue(&self, name: &str, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, names).signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
