use std::fmt;

use http::{Extensions, HeaderMap, Method, Request, Uri};

use crate::{
    LogicalOrigin, Origin, OriginHashes, OriginKey, origin::host_field, origin_hashes::Which,
    origin_key::Spelled,
};

/// A request without its body: what functions that look at requests of any body type are given.
///
/// `Debug` shows method and origin, and neither path, query nor header fields, which may hold secrets.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    hashes: Option<&'a OriginHashes>,
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
            hashes: None,
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

    /// The same view, whose look-ups use `hashes`, and leave there what they make.
    #[must_use]
    #[inline]
    pub const fn with_hashes(self, hashes: &'a OriginHashes) -> Self {
        Self {
            hashes: Some(hashes),
            ..self
        }
    }

    /// The server that the request is for: the target's, or the `Host` field's if the target names
    /// none.
    ///
    /// This is the *logical* origin, which the caller wrote. A layer inside that sends the attempt
    /// to one of several servers has [rewritten](LogicalOrigin) the target.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self.rewritten() {
            Some(logical) => logical.clone(),
            None => self.wire_origin(),
        }
    }

    /// The server that the request goes to, for what belongs to its connections: see
    /// [`LogicalOrigin`].
    #[must_use]
    pub fn wire_origin(&self) -> Origin {
        Origin::of(self.uri, self.headers)
    }

    /// The logical [`origin`](Self::origin), to look something up by.
    #[must_use]
    #[inline]
    pub fn origin_key(&self) -> OriginKey<'a> {
        let Some(logical) = self.rewritten() else {
            return self.key(Which::Logical);
        };
        let spelled = logical
            .authority()
            .map_or(Spelled::Nowhere, Spelled::Target);
        let (hashes, extensions) = (self.hashes, self.extensions);
        OriginKey::new(
            logical.scheme(),
            spelled,
            Which::Logical,
            hashes,
            extensions,
        )
    }

    /// The [`wire_origin`](Self::wire_origin), to look something up by.
    #[must_use]
    #[inline]
    pub fn wire_origin_key(&self) -> OriginKey<'a> {
        self.key(Which::Wire)
    }

    #[inline]
    fn key(&self, which: Which) -> OriginKey<'a> {
        let spelled = match self.uri.authority() {
            Some(authority) => Spelled::Target(authority),
            None => host_field(self.headers).map_or(Spelled::Nowhere, Spelled::HostField),
        };
        OriginKey::new(
            self.uri.scheme(),
            spelled,
            which,
            self.hashes,
            self.extensions,
        )
    }

    /// The logical origin, if a layer has rewritten the target.
    #[inline]
    fn rewritten(&self) -> Option<&'a Origin> {
        let rewritten = self.extensions.get::<LogicalOrigin>()?;
        LogicalOrigin::of(rewritten, self.uri, self.headers)
    }

    /// The authority of the [`origin`](Self::origin) as it is spelled: the target's, or the `Host`
    /// field. Empty if there is neither.
    #[must_use]
    #[inline]
    pub fn authority_as_spelled(&self) -> &'a [u8] {
        self.origin_key().authority_as_spelled()
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
