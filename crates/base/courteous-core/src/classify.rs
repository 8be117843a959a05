use std::{error::Error, fmt, ops::Deref, sync::Arc};

use http::{Extensions, HeaderMap, Response, StatusCode};
use http_body::Body;

use crate::{
    BoxError, RequestLine,
    refusal::{Refusal, RefusalCell},
};

/// Judges the outcome of an attempt.
///
/// One trait for responses and errors, and one verdict, so that a retry, a breaker and a trace agree on what a failure is.
/// Closures `Fn(Outcome<'_>) -> Verdict` are classifiers.
///
/// # Example
///
/// A server whose reads lag behind its writes: a 404 to a read may pass.
///
/// ```
/// use courteous_core::{Classify, Effect, Fault, Outcome, RequestLine, Verdict};
/// use http::{Method, Request, Response, StatusCode};
///
/// let classifier = |outcome: Outcome<'_>| match (outcome.request(), outcome.status()) {
///     (Some(request), Some(StatusCode::NOT_FOUND))
///         if request.method() == Method::GET && request.uri().path().starts_with("/replica/") =>
///     {
///         Verdict::transient(Effect::MaybeProcessed, Fault::Server)
///     }
///     (_, Some(status)) if status.is_server_error() => Verdict::Permanent,
///     _ => Verdict::Answered, // or what another classifier says of `outcome`
/// };
///
/// // A layer does this.
/// let request = RequestLine::of(&Request::get("http://api.example/replica/7").body(())?);
/// let response = Response::builder().status(404).body(())?;
/// let outcome = Outcome::head(&response).with_request(&request);
/// assert!(matches!(classifier.classify(outcome), Verdict::Transient { .. }));
/// # Ok::<_, http::Error>(())
/// ```
pub trait Classify {
    /// What `outcome` means for another attempt.
    fn classify(&self, outcome: Outcome<'_>) -> Verdict;
}

impl<F: Fn(Outcome<'_>) -> Verdict> Classify for F {
    fn classify(&self, outcome: Outcome<'_>) -> Verdict {
        self(outcome)
    }
}

impl<C: Classify + ?Sized> Classify for Arc<C> {
    fn classify(&self, outcome: Outcome<'_>) -> Verdict {
        self.deref().classify(outcome)
    }
}

/// The outcome of an attempt, as a classifier sees it: a response or an error, and the line of its request.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    request: Option<&'a RequestLine>,
    result: Result<ResponseHead<'a>, &'a (dyn Error + 'static)>,
}

impl<'a> Outcome<'a> {
    /// The outcome of an attempt that was answered.
    #[must_use]
    pub fn response<B: Body>(response: &'a Response<B>) -> Self {
        Self::answered(response, response.body().is_end_stream())
    }

    /// The outcome of an attempt that was answered, of which only the head is known: a body may follow.
    #[must_use]
    pub fn head<B>(response: &'a Response<B>) -> Self {
        Self::answered(response, false)
    }

    /// The outcome of an attempt that failed without an answer.
    #[must_use]
    pub const fn error(error: &'a (dyn Error + 'static)) -> Self {
        Self {
            request: None,
            result: Err(error),
        }
    }

    fn answered<B>(response: &'a Response<B>, ended: bool) -> Self {
        Self {
            request: None,
            result: Ok(ResponseHead {
                status: response.status(),
                headers: response.headers(),
                extensions: response.extensions(),
                ended,
                refusal: None,
            }),
        }
    }

    /// States where the reading of a refusal's fields is kept, if it is needed more than once.
    #[must_use]
    pub const fn with_refusal(mut self, cell: &'a RefusalCell) -> Self {
        if let Ok(head) = &mut self.result {
            head.refusal = Some(cell);
        }
        self
    }

    /// States which request it is the outcome of. A layer that asks a classifier does so.
    #[must_use]
    pub const fn with_request(mut self, request: &'a RequestLine) -> Self {
        self.request = Some(request);
        self
    }

    /// The request, as the layer that asks was given it. `None` where that is not known, as in the adapter of a client that
    /// judges its own errors.
    #[must_use]
    pub const fn request(&self) -> Option<&'a RequestLine> {
        self.request
    }

    /// The head of the response, whose body was not read yet; or the error, if there is no response.
    ///
    /// # Errors
    ///
    /// The attempt's own error: a value to look at, as the head is.
    pub const fn result(&self) -> Result<ResponseHead<'a>, &'a (dyn Error + 'static)> {
        self.result
    }

    /// The status of the response, if there is one.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match &self.result {
            Ok(head) => Some(head.status),
            Err(_) => None,
        }
    }
}

/// The part of a response that is there before its body.
///
/// `Debug` shows the names of the header fields, and no value, which may be a secret.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    ended: bool,
    refusal: Option<&'a RefusalCell>,
}

impl<'a> ResponseHead<'a> {
    /// The status code.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The header fields.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions, among them a [`Gate`](crate::Gate) if a throttle closed one because of this response.
    #[must_use]
    pub const fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// The refusal in the response, if it is one. Calls `read` only if no layer further in has handed
    /// its [`Refusal`] on, and the [cell](Outcome::with_refusal) is empty.
    pub fn refusal(&self, read: impl FnOnce() -> Option<Refusal>) -> Option<Refusal> {
        let known = self.extensions.get().copied();
        known.or_else(|| match self.refusal {
            Some(cell) => cell.get_or_read(read),
            None => read(),
        })
    }

    /// Whether nothing follows the head: a gRPC status among the headers counts only then.
    #[must_use]
    pub const fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// What an outcome means for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The server answered the request. Also an answer that the caller will not like, such as 404: it was no failure of
    /// the server's, and would come again.
    Answered,
    /// The attempt failed, and another one would fail alike.
    Permanent,
    /// Nothing of the request was sent, and another attempt would fail alike: no connection can be made as the request wants
    /// it, or the client cannot send such a request.
    Unsendable,
    /// The attempt failed, and another one may do better.
    Transient {
        /// What is known about the server having acted on the request.
        effect: Effect,
        /// What kind of failure it was.
        fault: Fault,
    },
}

impl Verdict {
    /// A failure that may pass.
    #[must_use]
    pub const fn transient(effect: Effect, fault: Fault) -> Self {
        Self::Transient { effect, fault }
    }

    /// Whether the attempt may have reached the server: unless it is known that nothing of it was sent.
    #[must_use]
    pub const fn is_maybe_sent(&self) -> bool {
        !matches!(
            self,
            Self::Unsendable
                | Self::Transient {
                    effect: Effect::NeverSent,
                    ..
                }
        )
    }

    /// Whether the server may have acted on the attempt: unless nothing was sent, or the server said that it refused.
    #[must_use]
    pub const fn is_maybe_processed(&self) -> bool {
        let refused = matches!(
            self,
            Self::Transient {
                effect: Effect::Refused,
                ..
            }
        );
        self.is_maybe_sent() && !refused
    }
}

/// What is known about a server having acted on a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing can have happened: it was never sent, or the protocol proves that it was not processed.
    /// Any request may be sent again.
    NeverSent,
    /// The server said that it refused the request, which is a convention and no proof.
    Refused,
    /// It may have been processed, wholly or in part. Only a request that is idempotent, by its method or by a key, may be
    /// sent again.
    MaybeProcessed,
    /// An earlier copy of the request is still at work under its idempotency key. Only a request with a key may be sent
    /// again.
    InProgress,
}

/// The kind of a transient failure: what a retry of it costs, and how long its backoff is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// No response: the connection failed, or time ran out.
    NoResponse,
    /// The server answered that it failed.
    Server,
    /// The server answered that it has more to do than it can: a 503, or UNAVAILABLE of gRPC.
    Overload,
    /// The server answered that this client sends too much.
    Throttled,
}

impl Fault {
    /// Its name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoResponse => "no_response",
            Self::Server => "server",
            Self::Overload => "overload",
            Self::Throttled => "throttled",
        }
    }
}

/// An error that brings its verdict along: for clients whose error types no classifier knows.
///
/// An adapter puts this around its client's errors; classifiers look for it first.
#[derive(Debug)]
pub struct Classified {
    verdict: Verdict,
    source: BoxError,
}

impl Classified {
    /// `source`, with its `verdict`.
    pub fn new(verdict: Verdict, source: impl Into<BoxError>) -> Self {
        Self {
            verdict,
            source: source.into(),
        }
    }

    /// What the error means for another attempt.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The client's own error.
    #[must_use]
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

impl fmt::Display for Classified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            Verdict::Transient {
                effect: Effect::NeverSent,
                ..
            } => "request not sent",
            Verdict::Unsendable => "request not sent, and would fail again",
            Verdict::Transient { .. } => "request failed, and may have been processed",
            Verdict::Answered | Verdict::Permanent => "request failed, and would fail again",
        })
    }
}

impl Error for Classified {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Empty, Full};

    use super::*;

    #[test]
    fn a_closure_is_a_classifier_shared_or_not() {
        let never = |_: Outcome<'_>| Verdict::Permanent;
        let response = Response::new(Empty::<&[u8]>::new());
        assert_eq!(
            never.classify(Outcome::response(&response)),
            Verdict::Permanent
        );
        let shared: Arc<dyn Classify> = Arc::new(never);
        assert_eq!(
            shared.classify(Outcome::response(&response)),
            Verdict::Permanent
        );
    }

    #[test]
    fn the_debug_text_of_an_outcome_shows_names_of_header_fields_and_no_values() {
        let response = Response::builder()
            .header("set-cookie", "session=s3cret")
            .body(Empty::<&[u8]>::new());
        let text = format!("{:?}", Outcome::response(&response.unwrap()));
        assert!(
            text.contains("set-cookie") && text.contains("200"),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn an_outcome_tells_its_request_if_that_was_stated() {
        let request = http::Request::patch("/a").body(()).unwrap();
        let request = RequestLine::of(&request);
        let response = Response::new(Empty::<&[u8]>::new());
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        for (outcome, status) in [
            (Outcome::response(&response), Some(StatusCode::OK)),
            (Outcome::error(&reset), None),
        ] {
            assert!(outcome.request().is_none());
            let outcome = outcome.with_request(&request);
            let method = outcome.request().map(RequestLine::method);
            assert_eq!(
                (method, outcome.status()),
                (Some(&http::Method::PATCH), status)
            );
        }
    }

    #[test]
    fn the_head_tells_whether_a_body_follows() {
        let ended = |outcome: Outcome<'_>| outcome.result().is_ok_and(|head| head.is_end_stream());
        assert!(ended(Outcome::response(&Response::new(
            Empty::<&[u8]>::new()
        ))));
        assert!(!ended(Outcome::response(&Response::new(
            Full::<&[u8]>::new(b"body")
        ))));
    }

    #[test]
    fn what_was_not_sent_or_was_refused_was_not_processed() {
        let transient = |effect| Verdict::transient(effect, Fault::Server);
        for (verdict, sent, processed) in [
            (Verdict::Unsendable, false, false),
            (transient(Effect::NeverSent), false, false),
            (transient(Effect::Refused), true, false),
            (transient(Effect::InProgress), true, true),
            (transient(Effect::MaybeProcessed), true, true),
            (Verdict::Permanent, true, true),
            (Verdict::Answered, true, true),
        ] {
            let judged = (verdict.is_maybe_sent(), verdict.is_maybe_processed());
            assert_eq!(judged, (sent, processed), "{verdict:?}");
        }
    }

    #[test]
    fn a_classified_error_keeps_its_source() {
        let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Classified::new(
            Verdict::transient(Effect::NeverSent, Fault::NoResponse),
            source,
        );
        assert_eq!(error.to_string(), "request not sent");
        assert!(crate::find_cause::<std::io::Error>(&error).is_some());
    }
}
