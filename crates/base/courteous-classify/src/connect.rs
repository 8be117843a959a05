//! What it means that no connection was made.

use std::{
    error::Error,
    io::{self, ErrorKind},
};

use courteous_core::{Effect, Fault, Verdict, causes};
use http::uri::{InvalidUri, InvalidUriParts};

/// The verdict on an error of which is known that no connection was made.
///
/// Nothing was sent, so that another attempt is safe for every request, and most faults of this kind pass: a refused
/// connection, a name that was not resolved, a handshake that was cut off, a connection that another call was making and gave
/// up. So the failure may pass, *never sent*, unless its chain of causes names what cannot change. Then it is
/// [`Unsendable`](Verdict::Unsendable). These are, wherever in the chain they stand:
///
/// | named by its type | with the feature |
/// |---|---|
/// | a URI or a host name that is invalid | – |
/// | an [`io::Error`] of kind `InvalidInput` or `Unsupported`, if it is the innermost one | – |
/// | `https` over hyper-util's connector without TLS; a URI without a host | `hyper-util` |
/// | authentication that an HTTP proxy requires (407) | `hyper-util` |
/// | a certificate that does not verify, no common version of TLS, cipher suite or protocol, an answer that is no TLS | `rustls` |
/// | an alert of the server's that says one of these, or that it wants another certificate | `rustls` |
///
/// The errors of native-tls cannot be told apart by their types, and count as passing. A scheme that hyper-rustls does not
/// support, and a channel of tonic's without TLS or HTTP/2, have errors whose types have no names: they are told by their
/// texts.
#[must_use]
pub fn of_connect_error(error: &(dyn Error + 'static)) -> Verdict {
    let kinds = causes(error).filter_map(|cause| cause.downcast_ref().map(io::Error::kind));
    let innermost = kinds.last();
    let is_final = matches!(
        innermost,
        Some(ErrorKind::InvalidInput | ErrorKind::Unsupported)
    );
    if is_final || causes(error).any(cannot_change) {
        Verdict::Unsendable
    } else {
        Verdict::transient(Effect::NeverSent, Fault::NoResponse)
    }
}

fn cannot_change(cause: &(dyn Error + 'static)) -> bool {
    if cause.is::<InvalidUri>() || cause.is::<InvalidUriParts>() {
        return true;
    }
    #[cfg(feature = "hyper-util")]
    if hyper_util::cannot_change(cause) {
        return true;
    }
    #[cfg(feature = "rustls")]
    if crate::tls::cannot_change(cause) {
        return true;
    }
    has_no_name(cause)
}

/// Whether `cause` is one of the errors whose types cannot be named.
fn has_no_name(cause: &(dyn Error + 'static)) -> bool {
    // An `io::Error` that wraps another error has its text. The other one comes next.
    if cause.is::<io::Error>() {
        return false;
    }
    let text = cause.to_string();
    let of_hyper_rustls = text == "missing scheme" || text.starts_with("unsupported scheme ");
    let of_tonic = matches!(
        &*text,
        "Connecting to HTTPS without TLS enabled" | "HTTP/2 was not negotiated."
    );
    of_hyper_rustls || of_tonic
}

#[cfg(feature = "hyper-util")]
mod hyper_util {
    use std::error::Error;

    use http::Uri;
    use hyper_util::client::legacy::connect::{HttpConnector, proxy::Tunnel};
    use tower_service::Service;

    /// These types are public, and can be named in no other way.
    type ConnectorError = <HttpConnector as Service<Uri>>::Error;
    type TunnelError = <Tunnel<HttpConnector> as Service<Uri>>::Error;

    pub(super) fn cannot_change(cause: &(dyn Error + 'static)) -> bool {
        // Whatever it meets on its way is in its source. What has none is a URI that it does not take.
        let is_uri = cause
            .downcast_ref::<ConnectorError>()
            .is_some_and(|error| error.source().is_none());
        let is_proxy = cause.downcast_ref().is_some_and(|error| {
            matches!(
                error,
                TunnelError::ProxyAuthRequired | TunnelError::MissingHost
            )
        });
        is_uri || is_proxy
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use courteous_core::BoxError;
    use http::Uri;

    use super::*;

    const PASSING: Verdict = Verdict::transient(Effect::NeverSent, Fault::NoResponse);

    /// As hyper-rustls wraps what fails below it.
    fn wrapped(error: impl Into<BoxError>) -> Verdict {
        of_connect_error(&io::Error::other(io::Error::other(error)))
    }

    #[test]
    fn what_is_not_known_may_pass() {
        assert_eq!(of_connect_error(&fmt::Error), PASSING);
        assert_eq!(wrapped("connection closed"), PASSING);
        for kind in [
            ErrorKind::ConnectionRefused,
            ErrorKind::ConnectionReset,
            ErrorKind::InvalidData,
            ErrorKind::NotConnected,
            ErrorKind::Other,
            ErrorKind::PermissionDenied,
            ErrorKind::TimedOut,
            ErrorKind::UnexpectedEof,
        ] {
            assert_eq!(of_connect_error(&io::Error::from(kind)), PASSING, "{kind}");
            assert_eq!(wrapped(io::Error::from(kind)), PASSING, "{kind}");
        }
    }

    #[test]
    fn the_innermost_kind_counts() {
        for kind in [ErrorKind::InvalidInput, ErrorKind::Unsupported] {
            assert_eq!(wrapped(io::Error::from(kind)), Verdict::Unsendable);
            let reset = io::Error::from(ErrorKind::ConnectionReset);
            let outer = io::Error::new(kind, reset);
            assert_eq!(of_connect_error(&outer), PASSING, "{kind}");
        }
    }

    #[test]
    fn a_uri_that_is_none_is_unsendable_at_any_depth() {
        let error = "http://[".parse::<Uri>().unwrap_err();
        assert_eq!(wrapped(error), Verdict::Unsendable);
        let error = Uri::from_parts(http::uri::Parts::default()).map(drop);
        assert_eq!(error.map_err(wrapped), Ok(()));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        assert_eq!(
            wrapped(Uri::from_parts(parts).unwrap_err()),
            Verdict::Unsendable
        );
    }

    #[test]
    fn errors_without_a_name_are_told_by_their_text() {
        for text in [
            "missing scheme",
            "unsupported scheme ftp",
            "Connecting to HTTPS without TLS enabled",
            "HTTP/2 was not negotiated.",
        ] {
            assert_eq!(wrapped(text), Verdict::Unsendable, "{text}");
        }
    }
}
