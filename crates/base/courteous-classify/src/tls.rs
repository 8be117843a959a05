use std::error::Error;

use rustls::{AlertDescription as Alert, Error as Tls, pki_types::InvalidDnsNameError};

/// Whether `cause` says that the two sides will not agree on a connection, however often it is tried: for a certificate, a
/// version, a cipher suite or a protocol. What may be a fault of the network or of one server among many is not.
pub(crate) fn cannot_change(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<InvalidDnsNameError>() || cause.downcast_ref().is_some_and(is_final)
}

fn is_final(error: &Tls) -> bool {
    match error {
        Tls::InvalidCertificate(_)
        | Tls::InvalidCertRevocationList(_)
        | Tls::NoCertificatesPresented
        | Tls::UnsupportedNameType
        | Tls::InvalidEncryptedClientHello(_)
        | Tls::PeerIncompatible(_)
        | Tls::NoApplicationProtocol
        | Tls::BadMaxFragmentSize
        | Tls::InconsistentKeys(_)
        // Plain HTTP, in answer to TLS, is one.
        | Tls::InvalidMessage(_) => true,
        Tls::AlertReceived(alert) => is_final_alert(*alert),
        _ => false,
    }
}

/// RFC 8446, section 6.2.
const fn is_final_alert(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::HandshakeFailure
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::IllegalParameter
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::ExportRestriction
            | Alert::ProtocolVersion
            | Alert::InsufficientSecurity
            | Alert::InappropriateFallback
            | Alert::MissingExtension
            | Alert::UnsupportedExtension
            | Alert::CertificateUnobtainable
            | Alert::UnrecognisedName
            | Alert::BadCertificateStatusResponse
            | Alert::BadCertificateHashValue
            | Alert::UnknownPSKIdentity
            | Alert::CertificateRequired
            | Alert::NoApplicationProtocol
            | Alert::EncryptedClientHelloRequired
    )
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use courteous_core::{Classify, Effect, Fault, Outcome, Verdict};
    use rustls::{CertificateError, InvalidMessage, PeerIncompatible};

    use super::*;
    use crate::{HttpClassifier, of_connect_error};

    /// As tokio-rustls has it, and hyper-rustls around it.
    fn handshake(error: Tls) -> io::Error {
        io::Error::other(io::Error::new(ErrorKind::InvalidData, error))
    }

    fn finals() -> Vec<Tls> {
        vec![
            Tls::InvalidCertificate(CertificateError::UnknownIssuer),
            Tls::InvalidCertificate(CertificateError::Expired),
            Tls::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            Tls::InvalidMessage(InvalidMessage::InvalidContentType),
            Tls::AlertReceived(Alert::HandshakeFailure),
            Tls::AlertReceived(Alert::ProtocolVersion),
            Tls::AlertReceived(Alert::UnknownCA),
        ]
    }

    #[test]
    fn what_the_two_sides_cannot_agree_on_is_unsendable() {
        for error in finals() {
            let verdict = of_connect_error(&handshake(error.clone()));
            assert_eq!(verdict, Verdict::Unsendable, "{error}");
        }
        let name = rustls::pki_types::DnsName::try_from("no host name").unwrap_err();
        assert_eq!(of_connect_error(&name), Verdict::Unsendable);
    }

    #[test]
    fn faults_of_the_network_and_of_one_server_may_pass() {
        for error in [
            Tls::AlertReceived(Alert::InternalError),
            Tls::AlertReceived(Alert::CloseNotify),
            Tls::AlertReceived(Alert::BadRecordMac),
            Tls::AlertReceived(Alert::Unknown(255)),
            Tls::DecryptError,
            Tls::HandshakeNotComplete,
            Tls::General("a provider's".to_owned()),
        ] {
            let verdict = of_connect_error(&handshake(error.clone()));
            let passing = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
            assert_eq!(verdict, passing, "{error}");
        }
        let cut = io::Error::new(ErrorKind::UnexpectedEof, "tls handshake eof");
        let passing = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
        assert_eq!(of_connect_error(&io::Error::other(cut)), passing);
    }

    // In TLS 1.3, a client has its connection before the server has seen the client's certificate.
    #[test]
    fn a_certificate_that_the_server_refuses_after_the_handshake_is_permanent() {
        let classifier = HttpClassifier::new();
        for alert in [Alert::CertificateRequired, Alert::UnknownCA] {
            let error = io::Error::new(ErrorKind::InvalidData, Tls::AlertReceived(alert));
            let verdict = classifier.classify(Outcome::error(&error));
            assert_eq!(verdict, Verdict::Permanent, "{alert:?}");
        }
        let error = io::Error::new(ErrorKind::InvalidData, Tls::DecryptError);
        let verdict = classifier.classify(Outcome::error(&error));
        let unknown = Verdict::transient(Effect::MaybeProcessed, Fault::NoResponse);
        assert_eq!(verdict, unknown);
    }
}
