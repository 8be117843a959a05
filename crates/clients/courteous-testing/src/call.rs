use std::{borrow::Cow, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use courteous_core::{CallContext, KeyField};
use http::{Extensions, HeaderMap, HeaderName, Method, StatusCode, Uri, Version, request::Parts};
use tokio::time::Instant;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One call of a scripted service, or one request to a scripted server, as it came.
///
/// A copy of the record: it does not change when the call goes on.
///
/// `Display` shows it in one line, with its target and its key, and without other header fields and
/// bodies.
#[derive(Clone)]
pub struct Call {
    number: usize,
    at: Instant,
    /// Shared, as a clone of an extension calls foreign code.
    head: Arc<Parts>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    is_complete: bool,
    is_processed: bool,
    end: Option<End>,
    /// What the call got, in words.
    answer: Option<String>,
    pub(crate) is_unexpected: bool,
    pub(crate) is_invalid: bool,
}

/// How a [`Call`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// It was answered. The body of the response may go on, and may fail.
    Answered(StatusCode),
    /// It failed without an answer.
    Failed,
    /// The client gave it up before it had an answer.
    Dropped,
}

impl Call {
    pub(crate) fn new(head: Parts) -> Self {
        Self {
            number: 0,
            at: Instant::now(),
            head: Arc::new(head),
            body: Vec::new(),
            trailers: None,
            is_complete: false,
            is_processed: false,
            end: None,
            answer: None,
            is_unexpected: false,
            is_invalid: false,
        }
    }

    /// Its number among all calls, from 1, in the order in which they came.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// When it came, on Tokio's clock.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The target. A server sees what the client has sent: mostly a path and a query.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.head.uri
    }

    /// The version of HTTP.
    #[must_use]
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The value of the first header field called `name`, if there is one and it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The idempotency key: the `Idempotency-Key` field, if it is [a key](KeyField::Key).
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        KeyField::of(&self.head.headers, &IDEMPOTENCY_KEY).key()
    }

    /// Which attempt of its call it was, from 1, as a retry outside has counted. `None` without
    /// such a retry, and at a server.
    #[must_use]
    pub fn attempt(&self) -> Option<NonZeroU32> {
        CallContext::of(&self.head.extensions).attempt()
    }

    /// The extensions. At a server they are the server's own.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.head.extensions
    }

    /// The body, as far as it was read.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text. Bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The trailers of the body, if there were any.
    #[must_use]
    pub const fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Whether the body was read to its end.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the server has processed the request, as the script says: see
    /// [`Answer::is_processed`](crate::Answer::is_processed). It has as soon as the request was
    /// read, and before any delay.
    #[must_use]
    pub const fn is_processed(&self) -> bool {
        self.is_processed
    }

    /// How it ended; `None` if it is in flight.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// The method and the target.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.head.method, self.head.uri)
    }

    pub(crate) const fn set_number(&mut self, number: usize) {
        self.number = number;
    }

    pub(crate) fn add_data(&mut self, data: &[u8]) {
        self.body.extend_from_slice(data);
    }

    pub(crate) fn set_trailers(&mut self, trailers: HeaderMap) {
        self.trailers = Some(trailers);
    }

    pub(crate) const fn set_complete(&mut self) {
        self.is_complete = true;
    }

    pub(crate) fn decide(&mut self, answer: String, is_processed: bool) {
        self.answer = Some(answer);
        self.is_processed = is_processed;
    }

    /// The first end counts.
    pub(crate) fn set_end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// The line of a log whose first call came at `start`.
    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>, start: Instant) -> fmt::Result {
        let passed = self.at.saturating_duration_since(start);
        // Finer is noise.
        let passed = Duration::from_micros(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX));
        write!(f, "#{} +{passed:?} {}", self.number, self.line())?;
        if let Some(attempt) = self.attempt() {
            write!(f, ", attempt {attempt}")?;
        }
        if let Some(key) = self.key() {
            write!(f, ", key {key}")?;
        }
        f.write_str(" -> ")?;
        match &self.answer {
            Some(answer) => f.write_str(answer)?,
            None => f.write_str("nothing yet")?,
        }
        match (self.end, &self.answer) {
            (None, _) => f.write_str(" (in flight)"),
            (Some(End::Dropped), _) => f.write_str(" (dropped by the client)"),
            (Some(End::Failed), None) => f.write_str(" (the request's body failed)"),
            (Some(End::Answered(_) | End::Failed), _) => Ok(()),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, self.at)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({self})")
    }
}
