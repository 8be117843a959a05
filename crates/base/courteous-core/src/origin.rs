use std::{
    fmt::{self, Write},
    hash::{Hash, Hasher},
};

use http::{
    HeaderMap, HeaderValue, Uri,
    header::HOST,
    uri::{Authority, Scheme},
};

use crate::Host;

/// Scheme and authority: one server, as far as a client can tell.
///
/// Two are equal if scheme, host and port are (RFC 6454, section 5): whatever user is named, with a port that the scheme
/// implies the same as none or an empty one, and however the [`Host`] is spelled. Cheap to clone. A request that names no
/// server has an origin too, the same for all such requests.
///
/// `Display` writes it for logs, as RFC 6454 does (section 6.2): `https://api.example:8443`, in lower case, and without a
/// user or a port that the scheme implies. Without a scheme: `api.example:8443`. Without a host: `unknown`. `Debug` writes the
/// same, as a user may come with a password.
#[derive(Clone)]
pub struct Origin {
    scheme: Option<Scheme>,
    authority: Option<Authority>,
}

impl Origin {
    /// The origin of a request for `uri` with these `headers`, whose `Host` field counts if the target names no server.
    #[must_use]
    #[inline]
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let host = match uri.authority() {
            Some(_) => None,
            None => host_field(headers),
        };
        Self::new(uri, host)
    }

    /// That of `uri`, or of the `host` if the target names no server.
    #[inline]
    pub(crate) fn new(uri: &Uri, host: Option<&HeaderValue>) -> Self {
        let host = || host?.as_bytes().try_into().ok();
        let authority = uri.authority().cloned().or_else(host);
        Self::from_parts(uri.scheme().cloned(), authority)
    }

    pub(crate) const fn from_parts(scheme: Option<Scheme>, authority: Option<Authority>) -> Self {
        Self { scheme, authority }
    }

    /// The origin, if the request names a server: for a field of an event, which is left out else.
    #[must_use]
    pub fn named(&self) -> Option<&Self> {
        (!self.host_and_port().0.is_empty()).then_some(self)
    }

    /// The scheme, if the target is absolute.
    #[must_use]
    pub const fn scheme(&self) -> Option<&Scheme> {
        self.scheme.as_ref()
    }

    /// Host and port, as they are spelled.
    #[must_use]
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The host, if the request names one.
    #[must_use]
    pub fn host(&self) -> Option<Host<'_>> {
        self.authority.as_ref()?;
        Some(Host::new(self.host_and_port().0))
    }

    /// The port that is stated, or else implied by the scheme: 80 for http, 443 for https.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.host_and_port().1
    }

    /// The host as it is spelled, empty if there is none, and the port that is stated or implied.
    pub(crate) fn host_and_port(&self) -> (&str, Option<u16>) {
        let text = self.authority.as_ref().map_or("", Authority::as_str);
        host_and_port(self.scheme(), text)
    }

    /// Whether this is the origin of `scheme` and an authority that is spelled like this one. If
    /// not, it may still be the same origin.
    #[inline]
    pub(crate) fn is_spelled(&self, scheme: Option<&Scheme>, authority: &str) -> bool {
        let own = self.authority.as_ref().map_or("", Authority::as_str);
        // Often, both are parts of one target, of which requests are made.
        let is_same = std::ptr::eq(own, authority) || own == authority;
        is_same && self.scheme.as_ref() == scheme
    }

    /// Whether this is the origin of `scheme` and `authority`, however that is spelled.
    #[inline]
    pub(crate) fn is(&self, scheme: Option<&Scheme>, authority: &str) -> bool {
        self.is_spelled(scheme, authority)
            || self.scheme.as_ref() == scheme
                && self.is_host_and_port(host_and_port(scheme, authority))
    }

    fn is_host_and_port(&self, (host, port): (&str, Option<u16>)) -> bool {
        let (own, own_port) = self.host_and_port();
        own_port == port && Host::new(own) == Host::new(host)
    }
}

/// The host in `authority` as it is spelled, and the port that is stated or implied by `scheme`.
///
/// [`Authority`] tells both too, by searches that are made for long texts: this is done for each
/// request.
pub(crate) fn host_and_port<'a>(
    scheme: Option<&Scheme>,
    authority: &'a str,
) -> (&'a str, Option<u16>) {
    let after_user = authority.bytes().rposition(|byte| byte == b'@');
    let text = &authority[after_user.map_or(0, |at| at + 1)..];
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (host, port) = text.split_at(text.len() - digits);
    // Else the digits are the end of a name or of an address.
    let (host, stated) = match host.strip_suffix(':') {
        Some(host) => (host, port.parse().ok()),
        None => (text, None),
    };
    (host, stated.or_else(|| implied_port(scheme)))
}

fn implied_port(scheme: Option<&Scheme>) -> Option<u16> {
    match scheme?.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The `Host` field, if there is one. In a map without fields, no name is hashed.
#[inline]
pub(crate) fn host_field(headers: &HeaderMap) -> Option<&HeaderValue> {
    match headers.is_empty() {
        true => None,
        false => headers.get(HOST),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = self.host_and_port();
        if host.is_empty() {
            return f.write_str("unknown");
        }
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        for char in host.chars() {
            f.write_char(char.to_ascii_lowercase())?;
        }
        match port {
            Some(port) if implied_port(self.scheme()) != Some(port) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Origin {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let text = other.authority.as_ref().map_or("", Authority::as_str);
        self.is(other.scheme(), text)
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Without the scheme: few servers have two at one port.
        let (host, port) = self.host_and_port();
        state.write_u16(port.unwrap_or(0));
        Host::new(host).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::RequestView;

    fn origin(uri: &str, host: Option<&str>) -> Origin {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        RequestView::of(&request.body(()).unwrap()).origin()
    }

    #[test]
    fn the_origin_is_scheme_and_authority_in_any_case() {
        let one = origin("http://api.example:8080/a?b", None);
        assert_eq!(one, origin("HTTP://API.example:8080/c", None));
        assert_ne!(one, origin("http://api.example/a", None));
        assert_ne!(one, origin("https://api.example:8080/a", None));
    }

    #[test]
    fn neither_an_implied_port_nor_a_user_makes_another_origin() {
        let hash = |origin: &Origin| {
            let mut hasher = std::hash::DefaultHasher::new();
            origin.hash(&mut hasher);
            hasher.finish()
        };
        let one = origin("https://api.example/", None);
        for same in [
            "https://api.example:443/",
            "https://me:secret@API.example/",
            "https://api.example:/",
            "https://api.example:0443/",
        ] {
            let same = origin(same, None);
            assert_eq!((&one, hash(&one)), (&same, hash(&same)));
        }
        assert_ne!(one, origin("https://api.example:80/", None));
        assert_ne!(origin("/", Some("a.example")), origin("/", None));
    }

    #[test]
    fn an_origin_is_written_without_user_path_query_and_implied_port() {
        for (uri, host, written) in [
            (
                "https://me:word@API.example:443/a?b",
                None,
                "https://api.example",
            ),
            ("http://api.example:8080", None, "http://api.example:8080"),
            ("http://[::1]:80/", None, "http://[::1]"),
            ("grpc://api.example", None, "grpc://api.example"),
            ("/a", Some("me@api.example:443"), "api.example:443"),
            ("/a", Some("me:word@"), "unknown"),
            ("/a", None, "unknown"),
        ] {
            let origin = origin(uri, host);
            assert_eq!(origin.to_string(), written, "{uri}");
            assert_eq!(format!("{origin:?}"), written);
            assert_eq!(origin.named().is_some(), written != "unknown");
        }
    }

    #[test]
    fn an_origin_is_the_same_however_its_host_is_spelled() {
        let mut known = std::collections::HashSet::new();
        for (first, others) in [
            (
                "http://api.example/",
                &["http://API.example./", "http://u@api.example.:80"][..],
            ),
            (
                "http://127.0.0.1:8080/",
                &["http://127.1:8080/", "http://[::ffff:127.0.0.1]:8080/"],
            ),
            ("https://[::1]/", &["https://[0:0:0:0:0:0:0:1]:443/"]),
        ] {
            assert!(known.insert(origin(first, None)));
            for other in others {
                assert!(!known.insert(origin(other, None)), "{other}");
            }
        }
        assert!(known.insert(origin("http://127.0.0.1./", None)));
        assert!(!known.insert(origin("http://127.1/", None)));
        assert!(known.insert(origin("/", Some("127.1"))));
        assert!(!known.insert(origin("/", Some("127.0.0.1"))));
    }

    #[test]
    fn host_and_port_are_those_that_the_authority_tells() {
        for text in [
            "a",
            "a:1",
            "a:",
            "a1",
            "10.0.0.1",
            "10.0.0.1:65535",
            "a:65536",
            "[::1]",
            "[::1]:80",
            "u@a",
            "u:2@a",
            "u:2@a:3",
            "u@[::1]:4",
            "a.b-c.d9:0",
        ] {
            let authority: Authority = text.parse().unwrap();
            let told = (authority.host(), authority.port_u16());
            let origin = Origin {
                scheme: None,
                authority: Some(authority.clone()),
            };
            assert_eq!(origin.host_and_port(), told, "{text}");
        }
    }

    #[test]
    fn origins_with_long_hosts_are_the_same_in_any_case() {
        let name = |label: &str| format!("https://{}.example/", [label; 40].join("."));
        let mut known = std::collections::HashSet::new();
        assert!(known.insert(origin(&name("api"), None)));
        assert!(!known.insert(origin(&name("API"), None)));
        assert!(known.insert(origin(&name("apj"), None)));
    }

    #[test]
    fn a_relative_target_takes_the_authority_of_its_host_field() {
        let one = origin("/a", Some("api.example"));
        assert_eq!(one.authority().map(Authority::as_str), Some("api.example"));
        assert_ne!(one, origin("/a", Some("other.example")));
        assert_eq!(origin("/a", None).authority(), None);
    }
}
