use std::{fmt, time::Duration};

use courteous_core::BoxError;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::{Latch, ProbeError, TestBody};

/// What a [`Probe`](crate::Probe) does with one call.
pub struct Reply {
    pub(crate) outcome: Outcome,
    pub(crate) pending: usize,
    pub(crate) after: Option<Duration>,
    pub(crate) latch: Option<Latch>,
}

pub(crate) enum Outcome {
    Respond(Response<TestBody>),
    Fail(BoxError),
    Never,
}

impl Reply {
    /// 200 without a body, at the first poll.
    #[must_use]
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// A response of this status without a body, at the first poll.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let mut response = Response::new(TestBody::new());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status code");
        Self::response(response)
    }

    /// This response.
    #[must_use]
    pub fn response(response: Response<TestBody>) -> Self {
        Self::new(Outcome::Respond(response))
    }

    /// The error [`ProbeError::Call`].
    #[must_use]
    pub fn error() -> Self {
        Self::fail(ProbeError::Call)
    }

    /// This error.
    #[must_use]
    pub fn fail(error: impl Into<BoxError>) -> Self {
        Self::new(Outcome::Fail(error.into()))
    }

    /// No outcome: pending for ever.
    #[must_use]
    pub fn never() -> Self {
        Self::new(Outcome::Never)
    }

    /// With this header field. Only for a response.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a field value");
        self.response_mut()
            .headers_mut()
            .append(HeaderName::from_static(name), value);
        self
    }

    /// With this body. Only for a response.
    #[must_use]
    pub fn body(mut self, body: impl Into<TestBody>) -> Self {
        *self.response_mut().body_mut() = body.into();
        self
    }

    /// Pending for `delay` on Tokio's clock, counted from the first poll of the response future.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = Some(delay);
        self
    }

    /// Pending `polls` times, woken at once.
    #[must_use]
    pub fn pending(mut self, polls: usize) -> Self {
        self.pending = polls;
        self
    }

    /// Pending until `latch` is open.
    #[must_use]
    pub fn held_by(mut self, latch: &Latch) -> Self {
        self.latch = Some(latch.clone());
        self
    }

    fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            pending: 0,
            after: None,
            latch: None,
        }
    }

    fn response_mut(&mut self) -> &mut Response<TestBody> {
        match &mut self.outcome {
            Outcome::Respond(response) => response,
            Outcome::Fail(_) | Outcome::Never => panic!("this reply is no response"),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome: &dyn fmt::Debug = match &self.outcome {
            Outcome::Respond(response) => response,
            Outcome::Fail(error) => error,
            Outcome::Never => &"never",
        };
        f.debug_struct("Reply")
            .field("outcome", outcome)
            .field("pending", &self.pending)
            .field("after", &self.after)
            .field("held", &self.latch.is_some())
            .finish()
    }
}
