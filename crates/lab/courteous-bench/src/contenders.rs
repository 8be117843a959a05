//! The layers of courteous and of its peers, each set up to do the same.

mod limiters;
mod ours;
mod resilience;
mod tower;

use std::{fmt, future::Future, pin::pin};

use ::tower::{BoxError, Service};
use http::Response;
use http_body::Body;
use http_body_util::BodyExt;

use crate::kit::Request;

/// The layers that are compared, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    Concurrency,
    Throttle,
    Retry,
    Key,
    TotalTimeout,
    AttemptTimeout,
    Five,
    Stack,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Concurrency,
        Self::Throttle,
        Self::Retry,
        Self::Key,
        Self::TotalTimeout,
        Self::AttemptTimeout,
        Self::Five,
        Self::Stack,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency limit",
            Self::Throttle => "throttle",
            Self::Retry => "retry, budget, backoff",
            Self::Key => "idempotency key",
            Self::TotalTimeout => "total timeout",
            Self::AttemptTimeout => "attempt timeout",
            Self::Five => "all five",
            Self::Stack => "`Stack`: six, per origin",
        }
    }

    /// Whether its requests may be sent again before it sees them: see [`Shape::request`](crate::kit::Shape::request).
    pub(crate) const fn is_keyed(self) -> bool {
        !matches!(self, Self::Key | Self::Five | Self::Stack)
    }
}

/// A measurement of contenders around its own client.
pub(crate) trait Visit {
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
    type Error: Into<BoxError> + fmt::Debug + Send + Sync + 'static;
    type Client: Service<
            Request,
            Response = Response<Self::Body>,
            Error = Self::Error,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static;

    /// Takes a contender: how to put its layers around the client. `around` is called inside a
    /// runtime.
    fn visit<S>(&mut self, who: Who, around: impl Fn(Self::Client) -> S)
    where
        S: Measurable;
}

/// The services that contenders make of a client.
pub(crate) trait Measurable:
    Service<
        Request,
        Future: Send + 'static,
        Response: Finish + Send + 'static,
        Error: fmt::Debug + Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Measurable for S where
    S: Service<
            Request,
            Future: Send + 'static,
            Response: Finish + Send + 'static,
            Error: fmt::Debug + Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// A response that can be read to its end.
pub(crate) trait Finish {
    /// Reads the whole response.
    fn finish(self) -> impl Future<Output = ()> + Send;
}

impl<B: Body<Data: Send> + Send> Finish for Response<B> {
    async fn finish(self) {
        let mut body = pin!(self.into_body());
        while let Some(frame) = body.frame().await {
            assert!(frame.is_ok(), "half a body");
        }
    }
}

/// Names a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// Whether the contender has its own task, so that only a runtime can poll its calls.
    pub(crate) has_task: bool,
    /// How many origins the requests go round; 0 if all have the URI of their shape.
    pub(crate) origins: usize,
}

impl Who {
    const fn new(kind: Kind, name: &'static str) -> Self {
        Self {
            kind,
            name,
            has_task: false,
            origins: 0,
        }
    }

    const fn with_task(mut self) -> Self {
        self.has_task = true;
        self
    }

    const fn with_origins(mut self, origins: usize) -> Self {
        self.origins = origins;
        self
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.name == OURS
    }

    pub(crate) fn is_bare(&self) -> bool {
        self.name == BARE
    }
}

/// The name of this project among the contenders.
pub(crate) const OURS: &str = "courteous";
/// The name of the bare transport among the contenders.
pub(crate) const BARE: &str = "bare";

/// The bare client, polled by hand and by a runtime, for requests that are sent again as they are
/// and for other requests.
pub(crate) fn bare<V: Visit>(visit: &mut V) {
    for kind in [Kind::Retry, Kind::Key] {
        visit.visit(Who::new(kind, BARE), |client| client);
        visit.visit(Who::new(kind, BARE).with_task(), |client| client);
    }
}

/// This project's layers with something for each origin, whose requests go round several origins,
/// and the bare client with such requests.
pub(crate) fn origins<V: Visit>(visit: &mut V) {
    for origins in [8, 1_000] {
        for kind in [Kind::Retry, Kind::Key] {
            visit.visit(Who::new(kind, BARE).with_origins(origins), |client| client);
        }
        ours::visit_origins(origins, visit);
    }
}

/// This project's layers.
pub(crate) fn ours<V: Visit>(visit: &mut V) {
    ours::visit(visit);
}

/// The peers.
pub(crate) fn peers<V: Visit>(visit: &mut V) {
    tower::visit(visit);
    resilience::visit(visit);
    limiters::visit(visit);
}
