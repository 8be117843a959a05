use http::{Extensions, Method, Request, Uri, Version};

use crate::fields::Fields;

/// The request as it came, with what its body is kept in.
pub(crate) struct Snapshot<T> {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Fields,
    /// Empty if they held nothing but the context, which is kept apart and written into each attempt: a copy of them would
    /// allocate three times.
    extensions: Extensions,
    body: T,
}

impl<T> Snapshot<T> {
    /// Of `request` as it came, with `body`. With `has_more`, its extensions hold more than the context.
    // Put together in its place: else it is moved twice.
    #[inline(always)]
    pub(crate) fn of<B>(request: &Request<B>, has_more: bool, body: T) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
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

    /// The request once more, with `body`.
    pub(crate) fn request<B>(&mut self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        *request.version_mut() = self.version;
        self.headers.write(request.headers_mut());
        request.extensions_mut().clone_from(&self.extensions);
        request
    }
}
