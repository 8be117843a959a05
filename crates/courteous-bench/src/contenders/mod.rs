//! The layers of courteous and of its peers, each set up to do the same.

mod limiters;
mod ours;
mod resilience;
mod tower;

use std::{fmt, rc::Rc};

use ::tower::Service;
use tokio::runtime::Runtime;

use crate::kit::{Calls, Request, Shape, Transport, by_hand, collected, in_runtime};

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

    /// Whether its requests may be sent again before it sees them.
    const fn keyed(self) -> bool {
        !matches!(self, Self::Key | Self::Five | Self::Stack)
    }
}

/// A layer, or a stack of them, around the transport.
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) who: &'static str,
    pub(crate) setting: Setting,
    calls: [Box<dyn Calls>; 2],
}

/// What decides what the bare transport costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) driver: Driver,
    /// Whether the request may be sent again as it is: see [`Shape::request`].
    pub(crate) keyed: bool,
}

/// Who polls the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    ByHand,
    /// Where a task of the contender's own takes part.
    Runtime,
}

impl Setting {
    pub(crate) const fn name(self) -> &'static str {
        match (self.driver, self.keyed) {
            (Driver::ByHand, false) => "by hand",
            (Driver::ByHand, true) => "by hand, sent again as it is",
            (Driver::Runtime, false) => "by a runtime",
            (Driver::Runtime, true) => "by a runtime, sent again as it is",
        }
    }
}

/// The name of this project among the contenders.
pub(crate) const OURS: &str = "courteous";
/// The name of the bare transport among the contenders.
pub(crate) const BARE: &str = "bare";

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
            setting: Setting {
                driver: Driver::ByHand,
                keyed: kind.keyed(),
            },
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
            setting: Setting {
                driver: Driver::Runtime,
                keyed: kind.keyed(),
            },
            calls,
        }
    }

    /// The layer's name, or the setting of the bare transport.
    pub(crate) fn name(&self) -> String {
        match self.who {
            BARE => format!("(bare transport, {})", self.setting.name()),
            _ => self.kind.name().to_owned(),
        }
    }

    /// Makes so many calls that are not to be measured.
    pub(crate) fn warm(&mut self, shape: Shape, times: usize) {
        let keyed = self.setting.keyed;
        self.calls[shape as usize].run(times, &move || shape.request(keyed));
    }

    /// Makes so many calls.
    pub(crate) fn run(&mut self, shape: Shape, times: usize) {
        let keyed = self.setting.keyed;
        let make = move || shape.request(keyed);
        collected(self.calls[shape as usize].as_mut(), times, &make);
    }

    pub(crate) fn future_bytes(&self) -> [usize; 2] {
        Shape::ALL.map(|shape| self.calls[shape as usize].future_bytes())
    }
}

/// The bare transport, as a contender in each setting.
pub(crate) fn bare(runtime: &Rc<Runtime>) -> Vec<Contender> {
    let bare = |transport| transport;
    let kinds = [Kind::Key, Kind::Retry];
    let by_hand = kinds.map(|kind| Contender::by_hand(kind, BARE, bare));
    let in_runtime = kinds.map(|kind| Contender::in_runtime(kind, BARE, runtime, bare));
    by_hand.into_iter().chain(in_runtime).collect()
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
    all.sort_by_key(|contender| contender.kind);
    all
}
