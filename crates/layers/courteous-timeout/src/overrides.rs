use std::time::Duration;

use courteous_core::{CallContext, CallRecord, KeyClaim};
use http::Extensions;

/// A request extension: the timeout of each attempt of this call, whatever the layer's own is.
///
/// It limits the server's silence, as the layer's does, and grows with a body that is in memory.
/// It may be longer or shorter than the layer's. [`Duration::MAX`] means none but the call's own
/// deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PerAttemptTimeout(pub Duration);

/// A request extension: how long the response's body of this call may be silent, whatever the layer's own limit is.
///
/// It may be longer or shorter than the layer's. [`Duration::MAX`] means no limit. See
/// [`AttemptTimeoutLayer::with_idle_timeout`](crate::AttemptTimeoutLayer::with_idle_timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdleTimeout(pub Duration);

/// Whether `extensions` may hold a caller's word, and the call's record in them. Mostly they hold nothing but the call's `context`
/// and the claim of its key: then nothing else is looked up.
#[inline]
pub(crate) fn others<'a>(
    extensions: &'a Extensions,
    context: Option<&CallContext>,
) -> (bool, Option<&'a CallRecord>) {
    let others = extensions.len() - usize::from(context.is_some());
    if others == 0 {
        return (false, None);
    }
    let others = others - usize::from(extensions.get::<KeyClaim>().is_some());
    if others == 0 {
        return (false, None);
    }
    let record = CallRecord::of(extensions);
    (others > usize::from(record.is_some()), record)
}
