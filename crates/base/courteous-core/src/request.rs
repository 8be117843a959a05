use std::fmt;

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri};

use crate::{Origin, origin::host_field};

/// A request without its body: what functions that look at requests of any body type are given.
///
/// `Debug` shows method and origin, and neither path, query nor header fields, which may hold secrets.
#[derive(Clone, Copy)]
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
        Origin::of(self.uri, self.headers)
    }

    /// The authority of that server as the request spells it: the target's, or the `Host` field. Empty if there is neither.
    #[must_use]
    #[inline]
    pub fn authority_as_spelled(&self) -> &'a [u8] {
        match self.uri.authority() {
            Some(authority) => authority.as_str().as_bytes(),
            None => host_field(self.headers).map_or(&[], HeaderValue::as_bytes),
        }
    }
}

impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView")
            .field("method", self.method)
            .field("origin", &self.origin())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_text_of_a_view_shows_no_secret() {
        let request = Request::get("https://me:s3cret@api.example/s3cret?s3cret")
            .header("authorization", "s3cret")
            .body(())
            .unwrap();
        let text = format!("{:?}", RequestView::of(&request));
        assert_eq!(
            text,
            "RequestView { method: GET, origin: https://api.example, .. }"
        );
    }
}
