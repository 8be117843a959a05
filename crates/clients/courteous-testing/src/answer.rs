use std::{
    fmt,
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use courteous_core::BoxError;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::RETRY_AFTER};

use crate::{InvalidAnswer, ScriptBody};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What a scripted server does with one call.
///
/// A status alone is an answer: `503.into()`. Clones are independent, and each can be given many
/// times.
///
/// | the answer | what the client sees | [`is_processed`](Self::is_processed) |
/// |---|---|---|
/// | [`ok`](Self::ok), [`status`](Self::status) | a response | 2xx |
/// | [`grpc_message`](Self::grpc_message) | a message of gRPC | yes |
/// | [`grpc_status`](Self::grpc_status) | a status of gRPC | no |
/// | [`never`](Self::never) | silence | no |
/// | [`connection_refused`](Self::connection_refused) | an error: never sent | no |
/// | [`connection_reset`](Self::connection_reset), [`connection_closed`](Self::connection_closed) | an error: maybe processed | no |
/// | [`lost`](Self::lost) | an error: maybe processed | **yes** |
/// | [`error`](Self::error) | an error of yours | no |
///
/// The server reads the request to its end, decides, waits for the [delay](Self::after), and
/// answers.
///
/// A setting that cannot be is no panic: the call that would get the answer fails with
/// [`InvalidAnswer`], and [`verify`](crate::ScriptService::verify) reports the call.
///
/// ```
/// use std::time::Duration;
///
/// use courteous_testing::Answer;
///
/// let busy = Answer::status(429).retry_after(Duration::from_secs(2)).body("slow down");
/// assert_eq!(busy.to_string(), "429 Too Many Requests (retry-after: 2)");
/// let slow = Answer::ok().after(Duration::from_millis(250));
/// assert_eq!(slow.to_string(), "200 OK after 250ms");
/// ```
#[derive(Clone)]
pub struct Answer {
    deed: Deed,
    delay: Duration,
    reads_body: bool,
    processed: Option<bool>,
}

#[derive(Clone)]
enum Deed {
    Respond(Respond),
    Fail(Failure),
    Never,
    Invalid(InvalidAnswer),
}

#[derive(Clone)]
struct Respond {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<Step>,
}

/// How a connection fails.
#[derive(Clone)]
pub(crate) enum Failure {
    Refused,
    Reset,
    Closed,
    /// The caller's own error.
    Other(Arc<dyn Fn() -> BoxError + Send + Sync>),
}

/// A step of a body that can be made many times.
#[derive(Clone)]
enum Step {
    Chunk(Bytes),
    Trailers(HeaderMap),
    Pause(Duration),
    Stall,
    Cut,
}

/// What an answer comes to, for one call.
pub(crate) enum Outcome {
    Respond(Response<ScriptBody>),
    Fail(Failure),
    Never,
    Invalid(InvalidAnswer),
}

impl Answer {
    /// 200 without a body, at once.
    #[must_use]
    pub fn ok() -> Self {
        Self::response(StatusCode::OK)
    }

    /// A response with this status and without a body, at once.
    ///
    /// A number that is no status code (100 to 999 are) makes the answer invalid.
    #[must_use]
    pub fn status(status: u16) -> Self {
        match StatusCode::from_u16(status) {
            Ok(status) => Self::response(status),
            Err(_) => Self::invalid(format!("{status} is no status code")),
        }
    }

    /// The answer of a gRPC server to a unary call, with this message: its bytes as Protobuf has
    /// them, without the prefix of five bytes. The status OK comes in the trailers.
    #[must_use]
    pub fn grpc_message(message: impl AsRef<[u8]>) -> Self {
        let message = message.as_ref();
        let Ok(length) = u32::try_from(message.len()) else {
            return Self::invalid("a gRPC message of more than 4 GiB".to_owned());
        };
        let frame = [&[0], &length.to_be_bytes()[..], message].concat();
        let mut trailers = HeaderMap::new();
        trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        Self::grpc().body(frame).trailers(trailers)
    }

    /// The answer of a gRPC server that fails with this status code, such as 14 for UNAVAILABLE. It
    /// consists of its head, as that of most servers does ("Trailers-Only").
    ///
    /// It is not [processed](Self::is_processed) by default.
    #[must_use]
    pub fn grpc_status(code: u8) -> Self {
        Self::grpc().header(GRPC_STATUS.as_str(), code.to_string())
    }

    fn grpc() -> Self {
        Self::ok().header("content-type", "application/grpc")
    }

    /// No answer: the server keeps the connection, and is silent for ever.
    #[must_use]
    pub fn never() -> Self {
        Self::new(Deed::Never)
    }

    /// No connection, as nothing listens there: the request is *never sent*.
    ///
    /// An [`io::Error`] of the kind [`ConnectionRefused`](ErrorKind::ConnectionRefused). The
    /// request's body is not read. Only for a service: a server cannot refuse a connection that
    /// carries a request.
    #[must_use]
    pub fn connection_refused() -> Self {
        let answer = Self::new(Deed::Fail(Failure::Refused));
        answer.before_body()
    }

    /// The connection is reset when the request was read: the client has to take it as *maybe
    /// processed*.
    ///
    /// An [`io::Error`] of the kind [`ConnectionReset`](ErrorKind::ConnectionReset). A server
    /// resets the connection (RST).
    #[must_use]
    pub fn connection_reset() -> Self {
        Self::new(Deed::Fail(Failure::Reset))
    }

    /// The connection is closed in good order when the request was read, without an answer: the
    /// client has to take it as *maybe processed*.
    ///
    /// An [`io::Error`] of the kind [`UnexpectedEof`](ErrorKind::UnexpectedEof). A server closes
    /// the connection (FIN).
    #[must_use]
    pub fn connection_closed() -> Self {
        Self::new(Deed::Fail(Failure::Closed))
    }

    /// The server processes the request, and its answer is lost: as
    /// [`connection_reset`](Self::connection_reset), and [processed](Self::processed).
    ///
    /// This is the fault that idempotency keys are for. The client cannot tell it from a reset
    /// before the request was processed.
    #[must_use]
    pub fn lost() -> Self {
        Self::connection_reset().processed()
    }

    /// An error that `make` makes for each call: for what the other answers do not have.
    ///
    /// An error is *maybe processed* to a classifier that does not know it. A
    /// [`Classified`](courteous_core::Classified) brings its verdict along. A server closes the
    /// connection instead, as [`connection_closed`](Self::connection_closed) does.
    ///
    /// ```
    /// use courteous_core::{Classified, Effect, Fault, Verdict};
    /// use courteous_testing::Answer;
    ///
    /// let no_such_host = Answer::error(|| {
    ///     let never_sent = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
    ///     Classified::new(never_sent, "no such host")
    /// });
    /// # let _ = no_such_host;
    /// ```
    #[must_use]
    pub fn error<E: Into<BoxError>>(make: impl Fn() -> E + Send + Sync + 'static) -> Self {
        let make = Arc::new(move || make().into());
        Self::new(Deed::Fail(Failure::Other(make)))
    }

    /// With this header field, after those of the same name that are there. Only for a response.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        match (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value),
        ) {
            (Ok(name), Ok(value)) => self.with("a header field", |respond| {
                respond.headers.append(name, value);
            }),
            (Err(_), _) => Self::invalid(format!("{name:?} is no name of a header field")),
            (_, Err(_)) => {
                let value = String::from_utf8_lossy(value);
                Self::invalid(format!("{value:?} is no value of a header field"))
            }
        }
    }

    /// With `Retry-After`, in whole seconds, rounded up (RFC 9110, section 10.2.3). Only for a
    /// response.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.with("`Retry-After`", |respond| {
            let seconds = HeaderValue::from(seconds(wait));
            respond.headers.insert(RETRY_AFTER, seconds);
        })
    }

    /// With a `RateLimit` field: a quota of which `remaining` requests are left, until it resets in
    /// `reset`. Only for a response.
    ///
    /// The form is that of the IETF's draft `draft-ietf-httpapi-ratelimit-headers` since its
    /// version 08, in whole seconds, rounded up: `RateLimit: "default";r=0;t=30`. Other forms are
    /// written by [`header`](Self::header).
    #[must_use]
    pub fn rate_limit(self, remaining: u64, reset: Duration) -> Self {
        let seconds = seconds(reset);
        self.header(
            "ratelimit",
            format!("\"default\";r={remaining};t={seconds}"),
        )
    }

    /// With `data` as the next piece of the body. Only for a response.
    #[must_use]
    pub fn body(self, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        self.with_step("a body", Step::Chunk(data))
    }

    /// Then the body is silent for `pause`, on Tokio's clock. Only for a response.
    #[must_use]
    pub fn pause_body(self, pause: Duration) -> Self {
        self.with_step("a body", Step::Pause(pause))
    }

    /// Then the body is silent for ever. Only for a response.
    #[must_use]
    pub fn stall_body(self) -> Self {
        self.with_step("a body", Step::Stall)
    }

    /// Then the connection is lost: the body is cut in the middle. Only for a response.
    ///
    /// An [`io::Error`] of the kind [`UnexpectedEof`](ErrorKind::UnexpectedEof). A server closes
    /// the connection when what comes before was sent.
    #[must_use]
    pub fn cut_body(self) -> Self {
        self.with_step("a body", Step::Cut)
    }

    /// Then come these trailers. Only for a response.
    #[must_use]
    pub fn trailers(self, trailers: HeaderMap) -> Self {
        self.with_step("trailers", Step::Trailers(trailers))
    }

    /// Makes the server take `delay` before it answers, or fails, on Tokio's clock. Counted from
    /// when the request was read. [`Duration::MAX`] is as good as for ever.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Makes the server answer when it has read the request's head, and leave the body unread: an
    /// early answer.
    #[must_use]
    pub fn before_body(mut self) -> Self {
        self.reads_body = false;
        self
    }

    /// States that the server has processed the request, whatever it answers: see
    /// [`Calls::times_processed`](crate::Calls::times_processed).
    #[must_use]
    pub fn processed(mut self) -> Self {
        self.processed = Some(true);
        self
    }

    /// States that the server has not processed the request, whatever it answers.
    #[must_use]
    pub fn not_processed(mut self) -> Self {
        self.processed = Some(false);
        self
    }

    /// Whether the server processes the request. By default, if the status is 2xx, and the head has
    /// no gRPC status of a failure.
    #[must_use]
    pub fn is_processed(&self) -> bool {
        let by_default = || match &self.deed {
            Deed::Respond(respond) => {
                let grpc_status = respond.headers.get(GRPC_STATUS);
                respond.status.is_success() && grpc_status.is_none_or(|code| code == "0")
            }
            Deed::Fail(_) | Deed::Never | Deed::Invalid(_) => false,
        };
        self.processed.unwrap_or_else(by_default)
    }

    pub(crate) const fn delay(&self) -> Duration {
        self.delay
    }

    pub(crate) const fn reads_body(&self) -> bool {
        self.reads_body
    }

    pub(crate) const fn is_invalid(&self) -> bool {
        matches!(self.deed, Deed::Invalid(_))
    }

    /// Whether a server can give the answer.
    #[cfg(feature = "server")]
    pub(crate) const fn is_for_services_only(&self) -> bool {
        matches!(self.deed, Deed::Fail(Failure::Refused))
    }

    pub(crate) fn outcome(self) -> Outcome {
        match self.deed {
            Deed::Respond(respond) => Outcome::Respond(respond.into_response()),
            Deed::Fail(failure) => Outcome::Fail(failure),
            Deed::Never => Outcome::Never,
            Deed::Invalid(error) => Outcome::Invalid(error),
        }
    }

    fn response(status: StatusCode) -> Self {
        Self::new(Deed::Respond(Respond {
            status,
            headers: HeaderMap::new(),
            body: Vec::new(),
        }))
    }

    const fn new(deed: Deed) -> Self {
        Self {
            deed,
            delay: Duration::ZERO,
            reads_body: true,
            processed: None,
        }
    }

    fn invalid(rule: String) -> Self {
        Self::new(Deed::Invalid(InvalidAnswer::new(rule)))
    }

    fn with_step(self, what: &str, step: Step) -> Self {
        self.with(what, |respond| respond.body.push(step))
    }

    fn with(mut self, what: &str, change: impl FnOnce(&mut Respond)) -> Self {
        match &mut self.deed {
            Deed::Respond(respond) => {
                change(respond);
                self
            }
            Deed::Invalid(_) => self,
            Deed::Fail(_) | Deed::Never => {
                let answer = self.to_string();
                Self::invalid(format!("{what} for an answer without a response: {answer}"))
            }
        }
    }
}

impl From<u16> for Answer {
    /// [`Answer::status`].
    fn from(status: u16) -> Self {
        Self::status(status)
    }
}

impl From<StatusCode> for Answer {
    fn from(status: StatusCode) -> Self {
        Self::response(status)
    }
}

impl<B: Into<Bytes>> From<Response<B>> for Answer {
    /// This status, these header fields, this body. Extensions and version are left out, as no
    /// server sends them.
    fn from(response: Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Self::new(Deed::Respond(Respond {
            status: head.status,
            headers: head.headers,
            body: vec![Step::Chunk(body.into())],
        }))
    }
}

impl Respond {
    fn into_response(self) -> Response<ScriptBody> {
        let body = self.body.into_iter().fold(ScriptBody::new(), Step::add_to);
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl Step {
    fn add_to(body: ScriptBody, step: Self) -> ScriptBody {
        match step {
            Self::Chunk(data) => body.chunk(data),
            Self::Trailers(trailers) => body.trailers(trailers),
            Self::Pause(pause) => body.pause(pause),
            Self::Stall => body.stall(),
            Self::Cut => body.cut(),
        }
    }
}

impl Failure {
    pub(crate) fn into_error(self) -> BoxError {
        let (kind, text) = match self {
            Self::Refused => (ErrorKind::ConnectionRefused, "connection refused"),
            Self::Reset => (ErrorKind::ConnectionReset, "connection reset"),
            Self::Closed => (ErrorKind::UnexpectedEof, "connection closed"),
            Self::Other(make) => return make(),
        };
        io::Error::new(kind, format!("{text}, as scripted")).into()
    }
}

impl fmt::Display for Answer {
    /// In one line, without the body and without other header fields than `Retry-After`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.deed {
            Deed::Respond(respond) => {
                write!(f, "{}", respond.status)?;
                if let Some(code) = respond.headers.get(GRPC_STATUS) {
                    write!(f, " (grpc-status: {})", code.to_str().unwrap_or("?"))?;
                }
                if let Some(wait) = respond.headers.get(RETRY_AFTER) {
                    write!(f, " (retry-after: {})", wait.to_str().unwrap_or("?"))?;
                }
                for step in &respond.body {
                    f.write_str(match step {
                        Step::Stall => ", body stalls",
                        Step::Cut => ", body cut",
                        Step::Chunk(_) | Step::Trailers(_) | Step::Pause(_) => "",
                    })?;
                }
            }
            Deed::Fail(failure) => f.write_str(match failure {
                Failure::Refused => "connection refused",
                Failure::Reset => "connection reset",
                Failure::Closed => "connection closed",
                Failure::Other(_) => "error",
            })?,
            Deed::Never => f.write_str("no answer")?,
            Deed::Invalid(error) => write!(f, "{error}")?,
        }
        match self.processed {
            Some(true) => f.write_str(", processed")?,
            Some(false) => f.write_str(", not processed")?,
            None => {}
        }
        if self.delay > Duration::ZERO {
            write!(f, " after {:?}", self.delay)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({self})")
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs()
        .saturating_add(u64::from(wait.subsec_nanos() > 0))
}
