//! What a throttle tells a subscriber, and the record of a rejected call. The table of events is on
//! the crate's page.

use std::time::Duration;

#[cfg(feature = "tracing")]
use courteous_core::Origin;
use courteous_core::{CallRecord, NoteKind, Rejected, RequestView};
#[cfg(feature = "tracing")]
use http::Method;
use http::{Request, StatusCode};

/// The request whose response an event will be about. It is kept only while a subscriber listens.
#[derive(Debug)]
pub(crate) struct Subject {
    // Boxed, as each byte of a call is moved several times.
    #[cfg(feature = "tracing")]
    request: Option<Box<(Method, Origin)>>,
}

/// What a response has closed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Closed {
    /// A refusal has closed the bucket.
    Refusal,
    /// A used-up quota has closed the bucket.
    Quota,
    /// The calls that a used-up, named quota holds up.
    NamedQuota,
}

/// What an event about a response tells of.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "for events"))]
pub(crate) struct About<'a> {
    pub(crate) subject: &'a Subject,
    /// The call is only observed.
    pub(crate) observed: bool,
}

impl Subject {
    #[inline]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        #[cfg(not(feature = "tracing"))]
        let _ = request;
        Self {
            #[cfg(feature = "tracing")]
            request: tracing::event_enabled!(target: "courteous::throttle", tracing::Level::DEBUG)
                .then(|| Box::new((request.method().clone(), RequestView::of(request).origin()))),
        }
    }
}

/// A call was rejected, which its record says too. If it was only `observed`, it would have been
/// rejected.
#[cold]
pub(crate) fn rejected(request: RequestView<'_>, rejected: &Rejected, observed: bool) {
    if !observed {
        let note = NoteKind::Rejected(rejected.reason());
        CallRecord::note_in(request.extensions(), note);
    }
    #[cfg(feature = "tracing")]
    tracing::debug!(
        name: "rejected",
        target: "courteous::throttle",
        observed = observed.then_some(true),
        reason = rejected.reason().as_str(),
        wait_ms = rejected.wait().map(millis),
        method = request.method().as_str(),
        origin = request.origin().named().map(tracing::field::display),
        "rejected"
    );
}

/// A call that is only observed would have waited.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn waiting(request: RequestView<'_>, wait: Duration) {
    tracing::debug!(
        name: "waiting",
        target: "courteous::throttle",
        observed = true,
        wait_ms = millis(wait),
        method = request.method().as_str(),
        origin = request.origin().named().map(tracing::field::display),
        "waiting"
    );
}

/// A response has closed something for `pause`.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn closed(closed: Closed, pause: Duration, status: StatusCode, about: About<'_>) {
    let request = about.subject.request.as_deref();
    tracing::debug!(
        name: "closed",
        target: "courteous::throttle",
        observed = about.observed.then_some(true),
        pause_ms = millis(pause),
        cause = match closed {
            Closed::Refusal => "refusal",
            Closed::Quota => "quota",
            Closed::NamedQuota => "named_quota",
        },
        status = status.as_u16(),
        method = request.map(|(method, _)| method.as_str()),
        origin = request
            .and_then(|(_, origin)| origin.named())
            .map(tracing::field::display),
        "closed"
    );
}

#[cfg(feature = "tracing")]
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn waiting(_: RequestView<'_>, _: Duration) {}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn closed(_: Closed, _: Duration, _: StatusCode, _: About<'_>) {}
