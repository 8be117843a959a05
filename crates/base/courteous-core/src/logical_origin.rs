use http::{HeaderMap, Request, Uri};

use crate::{CallContext, Origin};

/// The origin that the caller wrote, of a request whose URI a layer has rewritten: a request
/// extension.
///
/// A layer that sends each attempt to one of several servers rewrites the URI. To what belongs to
/// the service as a whole, the request still is for the origin that the caller wrote: its *logical*
/// origin. Where the request goes to is its *wire* origin.
///
/// | origin | is asked for by | used for |
/// |---|---|---|
/// | logical | [`RequestView::origin`](crate::RequestView::origin) | quotas and the keys of a throttle, costs, where an idempotency key may go, a dead letter, budgets |
/// | wire | [`RequestView::wire_origin`](crate::RequestView::wire_origin) | what belongs to connections: the requests in flight |
///
/// If a throttle kept its tokens by the rewritten URI, three servers would let three times the
/// quota through.
///
/// Only [`rewrite`](Self::rewrite) makes it. It counts as long as the request goes to where it was
/// rewritten to: if another layer changes the URI after that (a redirect to another server), the
/// logical origin is that of the new URI, as the wire origin is.
///
/// ```
/// use courteous_core::{LogicalOrigin, RequestView};
/// use http::Request;
///
/// let mut request = Request::get("https://api.example/a").body(())?;
/// LogicalOrigin::rewrite(&mut request, "https://eu-1.api.example/a".parse()?);
/// let view = RequestView::of(&request);
/// assert_eq!(view.origin().to_string(), "https://api.example");
/// assert_eq!(view.wire_origin().to_string(), "https://eu-1.api.example");
///
/// *request.uri_mut() = "https://other.example/a".parse()?; // a redirect
/// assert_eq!(RequestView::of(&request).origin().to_string(), "https://other.example");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogicalOrigin {
    logical: Origin,
    /// Where the request was rewritten to.
    wire: Origin,
}

impl LogicalOrigin {
    /// Changes the URI of `request` to `uri`, and keeps the origin that it was for.
    ///
    /// If the request was rewritten before, the first origin is kept. The header fields stay as
    /// they are. Allocates for the extension.
    pub fn rewrite<B>(request: &mut Request<B>, uri: Uri) {
        let before = request.extensions().get::<Self>();
        let before = before.and_then(|before| Self::of(before, request.uri(), request.headers()));
        let logical = match before {
            Some(logical) => logical.clone(),
            None => Origin::of(request.uri(), request.headers()),
        };
        *request.uri_mut() = uri;
        let wire = Origin::of(request.uri(), request.headers());
        let extensions = request.extensions_mut();
        if let Some(context) = extensions.get_mut::<CallContext>() {
            context.set_origin_hashes(context.origin_hash(), None);
        }
        extensions.insert(Self { logical, wire });
    }

    /// The logical origin of a request for `uri` with these `headers` that has `rewritten` among
    /// its extensions. `None` if it is that of the `uri`.
    pub(crate) fn of<'a>(
        rewritten: &'a Self,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<&'a Origin> {
        let Self { logical, wire } = rewritten;
        let is_wire = match uri.authority() {
            Some(authority) => wire.is(uri.scheme(), authority.as_str()),
            None => *wire == Origin::of(uri, headers),
        };
        is_wire.then_some(logical)
    }
}
