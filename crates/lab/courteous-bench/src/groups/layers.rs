//! Group 1: what each layer, and all five together, add to a call that neither waits nor fails.

use std::{cell::Cell, convert::Infallible, io, rc::Rc, time::Duration};

use bytes::Bytes;
use http::Uri;
use http_body_util::Empty;
use tokio::{runtime::Runtime, time::sleep};

use super::{Effort, primitives::Primitives};
use crate::{
    contenders::{self, Kind, Measurable, Visit, Who},
    kit::{
        Calls, Request, Shape, Spread, Table, Transport, by_hand, collected, cpu_of, heap_of,
        in_runtime, uris,
    },
};

/// Calls per sample.
const CALLS: usize = 2048;
/// Calls whose heap use is counted.
const EXACT: usize = 128;

/// Layers around the transport, in each shape.
pub(super) struct Contender {
    pub(super) who: Who,
    calls: [Box<dyn Calls>; 2],
    /// Of all origins that the requests go round.
    uris: Rc<[Uri]>,
}

impl Contender {
    /// The layer's name; for the bare transport, how it is polled.
    pub(super) fn name(&self) -> String {
        let kind = self.who.kind.name();
        match (self.who.is_bare(), self.who.origins) {
            (false, 0) => return kind.to_owned(),
            (false, origins) => return format!("{kind}, per origin, {origins} origins"),
            (true, _) => {}
        }
        let how = match self.who.has_task {
            true => "by a runtime",
            false => "by hand",
        };
        let mut name = format!("(bare transport, {how}");
        if self.who.kind.is_keyed() {
            name += ", idempotent requests";
        }
        match self.who.origins {
            0 => name + ")",
            origins => format!("{name}, {origins} origins)"),
        }
    }

    /// Whether the two contenders differ only in their layers.
    pub(super) fn is_set_up_like(&self, other: &Self) -> bool {
        let setting = |who: Who| (who.has_task, who.kind.is_keyed(), who.origins);
        setting(self.who) == setting(other.who)
    }

    /// Makes this many calls, which a profile can tell from all other work.
    pub(super) fn run(&mut self, shape: Shape, times: usize) {
        let make = self.requests(shape);
        collected(self.calls[shape as usize].as_mut(), times, &make);
    }

    /// Makes at least this many calls that are not measured, one to each origin.
    pub(super) fn warm(&mut self, shape: Shape, times: usize) {
        let make = self.requests(shape);
        let times = times.max(self.who.origins);
        self.calls[shape as usize].run(times, &make);
    }

    /// What makes the requests: the same ones each time, each to another origin than the one before.
    fn requests(&self, shape: Shape) -> impl Fn() -> Request + use<> {
        let keyed = self.who.kind.is_keyed();
        let (uris, next) = (Rc::clone(&self.uris), Cell::new(0));
        move || {
            let mut request = shape.request(keyed);
            if !uris.is_empty() {
                let number = next.replace(next.get() + 1);
                *request.uri_mut() = uris[number * 617 % uris.len()].clone();
            }
            request
        }
    }
}

/// All requested contenders, and the bare transport.
pub(super) struct Contenders {
    runtime: Rc<Runtime>,
    pub(super) all: Vec<Contender>,
}

impl Contenders {
    /// Makes them inside `runtime`, which the caller has entered.
    pub(super) fn new(runtime: &Rc<Runtime>, with_peers: bool) -> Self {
        let mut new = Self {
            runtime: Rc::clone(runtime),
            all: Vec::new(),
        };
        contenders::bare(&mut new);
        contenders::ours(&mut new);
        contenders::origins(&mut new);
        if with_peers {
            contenders::peers(&mut new);
        }
        // In the order of the tables: the bare transport, then by layer, ours first.
        let order = |contender: &Contender| (!contender.who.is_bare(), contender.who.kind);
        new.all.sort_by_key(order);
        new
    }

    /// The index of the bare transport that is called like `contender`.
    pub(super) fn bare(&self, contender: &Contender) -> usize {
        let is_it = |bare: &Contender| bare.who.is_bare() && bare.is_set_up_like(contender);
        self.all.iter().position(is_it).unwrap_or(0)
    }
}

impl Visit for Contenders {
    type Body = Empty<Bytes>;
    type Error = Infallible;
    type Client = Transport;

    fn visit<S: Measurable>(&mut self, who: Who, around: impl Fn(Transport) -> S) {
        let calls = Shape::ALL.map(|shape| {
            let realistic = shape == Shape::Realistic;
            let service = around(Transport { pending: realistic });
            match who.has_task {
                true => in_runtime(service, realistic, Rc::clone(&self.runtime)),
                false => by_hand(service, realistic),
            }
        });
        let uris = uris(who.origins).into();
        self.all.push(Contender { who, calls, uris });
    }
}

/// A runtime on which timers can be registered without waking its driver for each of them, as if an
/// earlier timer were pending: in a busy client there always is one.
pub(super) fn runtime() -> io::Result<Rc<Runtime>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::spawn(async {
            loop {
                sleep(Duration::from_secs(1)).await;
            }
        });
        sleep(Duration::from_millis(1)).await;
    });
    Ok(Rc::new(runtime))
}

/// What one contender costs, by shape.
#[derive(Default)]
struct Cost {
    /// CPU nanoseconds per call, a sample for each round.
    nanos: [Vec<f64>; 2],
    /// Allocations and bytes per call.
    heap: [(f64, f64); 2],
}

/// The tables of the group.
pub(crate) fn run(effort: Effort) -> io::Result<String> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let mut contenders = Contenders::new(&runtime, true);
    let mut primitives = Primitives::new();
    let mut costs: Vec<Cost> = contenders.all.iter().map(|_| Cost::default()).collect();
    for (contender, cost) in contenders.all.iter_mut().zip(&mut costs) {
        for shape in Shape::ALL {
            contender.warm(shape, EXACT);
            cost.heap[shape as usize] = heap(contender, shape);
        }
    }
    let count = costs.len();
    for round in 0..effort.of(20, 200) {
        primitives.sample();
        // No contender is always the first.
        for index in (0..count).map(|index| (index + round) % count) {
            for shape in Shape::ALL {
                let sample = nanos(&mut contenders.all[index], shape);
                costs[index].nanos[shape as usize].push(sample);
            }
        }
    }
    let added = added(&contenders, &costs);
    Ok(format!(
        "{}\n{}\n{}",
        costs_table(&contenders, &costs, &added),
        goals_table(&added, &primitives),
        primitives.table()
    ))
}

fn nanos(contender: &mut Contender, shape: Shape) -> f64 {
    let spent = cpu_of(|| contender.run(shape, CALLS));
    spent.as_nanos() as f64 / CALLS as f64
}

fn heap(contender: &mut Contender, shape: Shape) -> (f64, f64) {
    let (allocations, bytes) = heap_of(|| contender.run(shape, EXACT));
    (
        allocations as f64 / EXACT as f64,
        bytes as f64 / EXACT as f64,
    )
}

/// What a contender adds to the bare transport.
struct Added {
    name: String,
    who: Who,
    nanos: [Spread; 2],
    heap: [(f64, f64); 2],
    future: [usize; 2],
}

fn added(contenders: &Contenders, costs: &[Cost]) -> Vec<Added> {
    let layered = contenders.all.iter().zip(costs);
    layered
        .filter(|(contender, _)| !contender.who.is_bare())
        .map(|(contender, cost)| {
            let bare = &costs[contenders.bare(contender)];
            let nanos = Shape::ALL.map(|shape| {
                // By rounds, so that a slow round does not count.
                let pairs = cost.nanos[shape as usize].iter();
                let pairs = pairs.zip(&bare.nanos[shape as usize]);
                let added: Vec<_> = pairs.map(|(with, without)| with - without).collect();
                Spread::of(&added)
            });
            let heap = Shape::ALL.map(|shape| {
                let (with, without) = (cost.heap[shape as usize], bare.heap[shape as usize]);
                (with.0 - without.0, with.1 - without.1)
            });
            Added {
                name: contender.name(),
                who: contender.who,
                nanos,
                heap,
                future: Shape::ALL.map(|shape| contender.calls[shape as usize].future_bytes()),
            }
        })
        .collect()
}

fn costs_table(contenders: &Contenders, costs: &[Cost], added: &[Added]) -> Table {
    let mut table = Table::new(
        2,
        [
            "layer",
            "who",
            "floor: ns (min < **median** < max)",
            "realistic: ns",
            "allocations",
            "bytes allocated",
            "future, bytes",
        ],
    );
    let bare = contenders.all.iter().zip(costs);
    for (contender, cost) in bare.filter(|(contender, _)| contender.who.is_bare()) {
        table.row([
            contender.name(),
            "not added".to_owned(),
            Spread::of(&cost.nanos[0]).to_string(),
            Spread::of(&cost.nanos[1]).to_string(),
            pair(cost.heap.map(|heap| heap.0)),
            pair(cost.heap.map(|heap| heap.1)),
            none(),
        ]);
    }
    for added in added {
        table.row([
            added.name.clone(),
            added.who.name.to_owned(),
            added.nanos[0].to_string(),
            added.nanos[1].to_string(),
            pair(added.heap.map(|heap| heap.0)),
            pair(added.heap.map(|heap| heap.1)),
            pair(added.future.map(|bytes| bytes as f64)),
        ]);
    }
    table
}

fn goals_table(added: &[Added], primitives: &Primitives) -> Table {
    let mut table = Table::new(
        1,
        [
            "layer: ns, floor / realistic",
            "courteous",
            "best peer",
            "ours / best peer",
            "sum of primitives",
            "goal",
            "allocations",
            "of the best peer",
        ],
    );
    for kind in Kind::ALL {
        let is_it = move |who: Who| who.kind == kind && who.origins == 0;
        let of_kind = || added.iter().filter(move |added| is_it(added.who));
        let Some(ours) = of_kind().find(|added| added.who.is_ours()) else {
            continue;
        };
        let nanos = ours.nanos.map(|nanos| nanos.median);
        let best = |what: &dyn Fn(&Added) -> [f64; 2]| {
            of_kind()
                .filter(|added| !added.who.is_ours())
                .map(what)
                .reduce(|[a, b], [c, d]| [a.min(c), b.min(d)])
        };
        let peer = best(&|added| added.nanos.map(|nanos| nanos.median));
        let ratio = peer.map(|peer| [nanos[0] / peer[0], nanos[1] / peer[1]]);
        table.row([
            kind.name().to_owned(),
            pair(nanos),
            peer.map_or_else(none, pair),
            ratio.map_or_else(none, |[a, b]| format!("{a:.2} / {b:.2}")),
            primitives.sum(kind).map_or_else(none, pair),
            goal(kind).map_or_else(none, pair),
            pair(ours.heap.map(|heap| heap.0)),
            best(&|added| added.heap.map(|heap| heap.0)).map_or_else(none, pair),
        ]);
    }
    table
}

/// The nanoseconds that a layer may add.
const fn goal(kind: Kind) -> Option<[f64; 2]> {
    match kind {
        Kind::Concurrency => Some([25.0, 45.0]),
        Kind::Throttle => Some([40.0, 60.0]),
        Kind::Retry => Some([80.0, 220.0]),
        Kind::Key => Some([95.0, 110.0]),
        Kind::TotalTimeout => Some([25.0, 120.0]),
        Kind::Five => Some([330.0, 600.0]),
        Kind::AttemptTimeout | Kind::Stack => None,
    }
}

fn pair([floor, realistic]: [f64; 2]) -> String {
    format!("{floor:.0} / {realistic:.0}")
}

fn none() -> String {
    "-".to_owned()
}
