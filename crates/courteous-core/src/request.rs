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
/// Compares without regard to case, and is cheap to clone. A request that names neither has an origin too, the same for all
/// such requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    fn a_relative_target_takes_the_authority_of_its_host_field() {
        let one = origin("/a", Some("api.example"));
        assert_eq!(one.authority().map(Authority::as_str), Some("api.example"));
        assert_ne!(one, origin("/a", Some("other.example")));
        assert_eq!(origin("/a", None).authority(), None);
    }
}
