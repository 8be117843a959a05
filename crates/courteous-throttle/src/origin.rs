use http::{
    header::HOST,
    uri::{Authority, Scheme},
};

use crate::RequestHead;

/// Where a request goes: scheme, host and port, as in RFC 6454.
///
/// A scheme's default port is the same as none, and user information does not count. Hosts compare without regard to
/// case. A request without an authority in its target has the one of its `Host` field; one without either shares the
/// origin of all such.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Option<Scheme>,
    authority: Option<Authority>,
}

impl Origin {
    /// The origin that a request goes to.
    #[must_use]
    pub fn of(head: &RequestHead<'_>) -> Self {
        let scheme = head.uri().scheme().cloned();
        let authority = match head.uri().authority() {
            Some(authority) => Some(authority.clone()),
            None => head
                .headers()
                .get(HOST)
                .and_then(|host| Authority::try_from(host.as_bytes()).ok()),
        };
        let authority = authority.map(|authority| bare(scheme.as_ref(), authority));
        Self { scheme, authority }
    }

    /// The scheme, if the request's target says one.
    #[must_use]
    pub const fn scheme(&self) -> Option<&Scheme> {
        self.scheme.as_ref()
    }

    /// Host and port, without a scheme's default one.
    #[must_use]
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }
}

/// `authority` without user information and default port.
fn bare(scheme: Option<&Scheme>, authority: Authority) -> Authority {
    let default = match scheme {
        Some(scheme) if *scheme == Scheme::HTTP => Some(80),
        Some(scheme) if *scheme == Scheme::HTTPS => Some(443),
        _ => None,
    };
    let port = authority.port_u16();
    let shown = port.filter(|_| port != default);
    let plain =
        shown == port && !authority.as_str().contains('@') && !authority.as_str().ends_with(':');
    if plain {
        return authority;
    }
    let text = match shown {
        Some(port) => format!("{}:{port}", authority.host()),
        None => authority.host().to_owned(),
    };
    Authority::try_from(text).unwrap_or(authority)
}
