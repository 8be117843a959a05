//! The layers of courteous and of its peers, each set up to do the same.

mod limiters;
mod ours;
mod resilience;
mod tower;

use std::{fmt, rc::Rc};

use ::tower::Service;
use tokio::runtime::Runtime;

use crate::kit::{Calls, Request, Shape, Transport, by_hand, in_runtime};

/// The layers that are compared, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// Whether its requests may be sent again before it sees them.
    const fn keyed(self) -> bool {
        !matches!(self, Self::Key | Self::Five | Self::Stack)
    }

    pub(crate) fn request(self, shape: Shape) -> Request {
        shape.request(self.keyed())
    }
}

/// A layer, or a stack of them, around the transport.
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) who: &'static str,
    pub(crate) driver: Driver,
    calls: [Box<dyn Calls>; 2],
}

/// Who polls the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    ByHand,
    /// Where a task of the contender's own takes part.
    Runtime,
}

/// The name of this project among the contenders.
pub(crate) const OURS: &str = "courteous";

impl Contender {
    fn by_hand<S>(kind: Kind, who: &'static str, around: impl Fn(Transport) -> S) -> Self
    where
        S: Service<Request, Error: fmt::Debug> + Clone + 'static,
    {
        let calls = Shape::ALL.map(|shape| {
            let realistic = shape == Shape::Realistic;
            by_hand(around(Transport { pending: realistic }), realistic)
        });
        Self {
            kind,
            who,
            driver: Driver::ByHand,
            calls,
        }
    }

    fn in_runtime<S>(
        kind: Kind,
        who: &'static str,
        runtime: &Rc<Runtime>,
        around: impl Fn(Transport) -> S,
    ) -> Self
    where
        S: Service<Request, Error: fmt::Debug> + Clone + 'static,
    {
        let calls = Shape::ALL.map(|shape| {
            let realistic = shape == Shape::Realistic;
            let service = around(Transport { pending: realistic });
            in_runtime(service, realistic, Rc::clone(runtime))
        });
        Self {
            kind,
            who,
            driver: Driver::Runtime,
            calls,
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.who == OURS
    }

    pub(crate) fn calls(&mut self, shape: Shape) -> &mut dyn Calls {
        let [floor, realistic] = &mut self.calls;
        match shape {
            Shape::Floor => &mut **floor,
            Shape::Realistic => &mut **realistic,
        }
    }
}

/// The bare transport, as a contender of each driver's.
pub(crate) fn baselines(runtime: &Rc<Runtime>) -> [Contender; 2] {
    let bare = |transport| transport;
    [
        Contender::by_hand(Kind::Five, "bare", bare),
        Contender::in_runtime(Kind::Five, "bare", runtime, bare),
    ]
}

/// This project's layers. Must be called inside of a runtime, as all of these.
pub(crate) fn ours() -> Vec<Contender> {
    ours::contenders()
}

/// All, in the order of the tables.
pub(crate) fn all(runtime: &Rc<Runtime>) -> Vec<Contender> {
    let mut all = ours();
    all.extend(tower::contenders(runtime));
    all.extend(resilience::contenders());
    all.extend(limiters::contenders());
    // Stable: within a kind, ours is the first.
    all.sort_by_key(|contender| {
        Kind::ALL
            .iter()
            .position(|kind| *kind == contender.kind)
    });
    all
}
