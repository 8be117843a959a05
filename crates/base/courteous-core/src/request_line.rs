use std::fmt;

use http::{HeaderValue, Method, Request, Uri};

use crate::{Origin, origin::host_field};

/// The method and the target of a request: what a layer keeps of it when the request is on its way.
///
/// [Classifiers](crate::Classify) see it beside the outcome, hooks and events name it. It is as the layer that shows it was
/// given it: what a layer further in has changed is not seen.
///
/// Header fields and extensions are not in it, as each call would pay for a copy of them. A clone of method and target
/// shares their memory; only an extension method of more than 15 bytes and a scheme other than http and https allocate.
///
/// `Debug` shows neither path nor query, which may hold secrets.
#[derive(Clone)]
pub struct RequestLine {
    method: Method,
    uri: Uri,
    /// The `Host` field, where the target names no server.
    host: Option<HeaderValue>,
}

impl RequestLine {
    /// The line of `request`.
    #[must_use]
    #[inline]
    pub fn of<B>(request: &Request<B>) -> Self {
        let uri = request.uri();
        Self {
            method: request.method().clone(),
            uri: uri.clone(),
            host: match uri.authority() {
                Some(_) => None,
                None => host_field(request.headers()).cloned(),
            },
        }
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The target, with its path and its query.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The server that the request goes to: the target's, or the `Host` field's if the target names none. If a layer further
    /// out has [rewritten](crate::LogicalOrigin) the target, it is that layer's server.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::new(&self.uri, self.host.as_ref())
    }
}

impl fmt::Debug for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestLine")
            .field("method", &self.method)
            .field("origin", &format_args!("{}", self.origin()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;
    use crate::RequestView;

    #[test]
    fn it_names_the_same_origin_as_the_request() {
        for (uri, host) in [
            ("http://api.example/a", None),
            ("http://api.example/a", Some("other.example")),
            ("/a", Some("api.example:8080")),
            ("/a", Some("not a host")),
            ("/a", None),
        ] {
            let mut request = Request::delete(uri);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let request = request.body(()).unwrap();
            let line = RequestLine::of(&request);
            assert_eq!(line.origin(), RequestView::of(&request).origin());
            assert_eq!(
                (line.method(), line.uri()),
                (&Method::DELETE, request.uri())
            );
        }
    }

    #[test]
    fn its_debug_form_shows_no_path_no_query_and_no_user() {
        let request = Request::get("https://me:word@api.example/reset/t0ken?key=k3y");
        let line = RequestLine::of(&request.body(()).unwrap());
        assert_eq!(
            format!("{line:?}"),
            "RequestLine { method: GET, origin: https://api.example, .. }"
        );
    }
}
