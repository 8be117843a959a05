//! What the timeouts tell a subscriber: the table is on the crate's page.

use courteous_core::Elapsed;
#[cfg(feature = "tracing")]
use courteous_core::RequestLine;
use http::Request;

/// The request that an event will be about. It is kept only while a subscriber listens.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    // Boxed, as each byte of a call is moved several times.
    #[cfg(feature = "tracing")]
    request: Option<Box<RequestLine>>,
}

impl Subject {
    #[inline]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        #[cfg(not(feature = "tracing"))]
        let _ = request;
        Self {
            #[cfg(feature = "tracing")]
            request: tracing::event_enabled!(target: "courteous::timeout", tracing::Level::DEBUG)
                .then(|| Box::new(RequestLine::of(request))),
        }
    }
}

/// A limit has struck, or would have struck if it were not only `observed`.
#[cfg(feature = "tracing")]
#[cold]
pub(crate) fn elapsed(elapsed: &Elapsed, subject: &Subject, observed: bool) {
    let request = subject.request.as_deref();
    tracing::debug!(
        name: "elapsed",
        target: "courteous::timeout",
        observed = observed.then_some(true),
        scope = elapsed.scope().as_str(),
        limit_ms = u64::try_from(elapsed.limit().as_millis()).unwrap_or(u64::MAX),
        method = request.map(|request| request.method().as_str()),
        origin = request
            .map(RequestLine::origin)
            .as_ref()
            .and_then(courteous_core::Origin::named)
            .map(tracing::field::display),
        "elapsed"
    );
}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn elapsed(_: &Elapsed, _: &Subject, _: bool) {}
