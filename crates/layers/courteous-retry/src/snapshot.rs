use courteous_core::RequestLine;
use http::{Extensions, Request, Version};

use crate::fields::Fields;

/// The request as it came, but for its line, with what its body is kept in.
pub(crate) struct Snapshot<T> {
    version: Version,
    headers: Fields,
    /// Empty if they held nothing but the context, the record and the key's claim. These are kept apart and written into each
    /// attempt: a copy of the map would allocate three times, and once for each of them.
    extensions: Extensions,
    body: T,
}

impl<T> Snapshot<T> {
    /// Of `request` as it came, with `body`. With `has_more`, its extensions hold more than is kept apart.
    // Put together in its place: else it is moved twice.
    #[inline(always)]
    pub(crate) fn of<B>(request: &Request<B>, has_more: bool, body: T) -> Self {
        Self {
            version: request.version(),
            headers: Fields::of(request.headers()),
            extensions: match has_more {
                true => request.extensions().clone(),
                false => Extensions::new(),
            },
            body,
        }
    }

    /// What its body is kept in.
    pub(crate) const fn body(&self) -> &T {
        &self.body
    }

    /// The request once more, with `line` and `body`.
    pub(crate) fn request<B>(&mut self, line: &RequestLine, body: B) -> Request<B> {
        let mut request = Request::new(body);
        request.method_mut().clone_from(line.method());
        request.uri_mut().clone_from(line.uri());
        *request.version_mut() = self.version;
        self.headers.write(request.headers_mut());
        request.extensions_mut().clone_from(&self.extensions);
        request
    }
}
