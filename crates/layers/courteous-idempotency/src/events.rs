//! What a key layer tells a subscriber: the table is on the crate's page.

use courteous_core::{RejectReason, RequestView};
use http::HeaderValue;

/// A request got `key`; or it would have got one, if it was only observed.
#[cfg(feature = "tracing")]
pub(crate) fn key_added(request: RequestView<'_>, key: Option<&HeaderValue>) {
    tracing::debug!(
        name: "key_added",
        target: "courteous::idempotency",
        observed = key.is_none().then_some(true),
        key = key.and_then(|key| key.to_str().ok()),
        method = request.method().as_str(),
        origin = request.origin().named().map(tracing::field::display),
        "key_added"
    );
}

/// A request was rejected; or it would have been, if it was not only `observed`.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn rejected(request: RequestView<'_>, reason: RejectReason, observed: bool) {
    tracing::debug!(
        name: "rejected",
        target: "courteous::idempotency",
        observed = observed.then_some(true),
        reason = reason.as_str(),
        method = request.method().as_str(),
        origin = request.origin().named().map(tracing::field::display),
        "rejected"
    );
}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn key_added(_: RequestView<'_>, _: Option<&HeaderValue>) {}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn rejected(_: RequestView<'_>, _: RejectReason, _: bool) {}
