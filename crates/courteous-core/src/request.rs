use std::hash::{Hash, Hasher};

use http::{
    Extensions, HeaderMap, Method, Request, Uri,
    header::HOST,
    uri::{Authority, Scheme},
};

/// A request without its body: what functions that look at requests of any body type are given.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestView<'a> {
    /// A view of `request`.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The target.
    #[must_use]
    pub const fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The header fields.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions.
    #[must_use]
    pub const fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The server that the request is for: the target's, or the `Host` field's if the target names none.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let host = || self.headers.get(HOST)?.as_bytes().try_into().ok();
        Origin {
            scheme: self.uri.scheme().cloned(),
            authority: self.uri.authority().cloned().or_else(host),
        }
    }
}

/// Scheme and authority: one server, as far as a client can tell.
///
/// Two are equal if scheme, host and port are (RFC 6454, section 5): without regard to case, with a port that the scheme
/// implies the same as none, and whatever user is named. Cheap to clone. A request that names no server has an origin too,
/// the same for all such requests.
#[derive(Clone, Debug)]
pub struct Origin {
    scheme: Option<Scheme>,
    authority: Option<Authority>,
}

impl Origin {
    /// The scheme, if the target is absolute.
    #[must_use]
    pub const fn scheme(&self) -> Option<&Scheme> {
        self.scheme.as_ref()
    }

    /// Host and port.
    #[must_use]
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    fn host(&self) -> Option<&str> {
        self.authority.as_ref().map(Authority::host)
    }

    fn port(&self) -> Option<u16> {
        let stated = self.authority.as_ref().and_then(Authority::port_u16);
        let implied = || match self.scheme.as_ref()?.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        stated.or_else(implied)
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        let host = match (self.host(), other.host()) {
            (Some(one), Some(two)) => one.eq_ignore_ascii_case(two),
            (one, two) => one.is_none() && two.is_none(),
        };
        host && self.port() == other.port() && self.scheme == other.scheme
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scheme.hash(state);
        self.port().hash(state);
        for byte in self.host().unwrap_or_default().bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for same in ["https://api.example:443/", "https://me:secret@API.example/"] {
            let same = origin(same, None);
            assert_eq!((&one, hash(&one)), (&same, hash(&same)));
        }
        assert_ne!(one, origin("https://api.example:80/", None));
        assert_ne!(origin("/", Some("a.example")), origin("/", None));
    }

    #[test]
    fn a_relative_target_takes_the_authority_of_its_host_field() {
        let one = origin("/a", Some("api.example"));
        assert_eq!(one.authority().map(Authority::as_str), Some("api.example"));
        assert_ne!(one, origin("/a", Some("other.example")));
        assert_eq!(origin("/a", None).authority(), None);
    }
}
