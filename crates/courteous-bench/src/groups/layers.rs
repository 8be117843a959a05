//! Group 1: what each layer, and all five together, add to a call that neither waits nor fails.

use std::{io, rc::Rc, time::Duration};

use tokio::{runtime::Runtime, time::sleep};

use super::{Effort, primitives::Primitives};
use crate::{
    contenders::{self, BARE, Contender, Kind, OURS},
    kit::{Shape, Spread, Table, cpu_of, heap_of},
};

/// Calls to a sample.
const CALLS: usize = 2048;
/// Calls whose use of the heap is counted.
const EXACT: usize = 128;

/// What one contender costs, by shape.
#[derive(Default)]
struct Cost {
    /// CPU nanoseconds per call, a sample for each round.
    nanos: [Vec<f64>; 2],
    /// Allocations and bytes per call.
    heap: [(f64, f64); 2],
}

/// What contenders add to the bare transport.
struct Added {
    kind: Kind,
    who: &'static str,
    nanos: [Spread; 2],
    heap: [(f64, f64); 2],
    future: [usize; 2],
}

/// The tables of the group.
pub(crate) fn run(effort: Effort) -> io::Result<String> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let mut contenders = contenders::bare(&runtime);
    contenders.extend(contenders::all(&runtime));
    let mut primitives = Primitives::new();
    let mut costs: Vec<Cost> = contenders.iter().map(|_| Cost::default()).collect();
    for (contender, cost) in contenders.iter_mut().zip(&mut costs) {
        for shape in Shape::ALL {
            contender.warm(shape, EXACT);
            cost.heap[shape as usize] = heap(contender, shape);
        }
    }
    for round in 0..effort.of(20, 200) {
        primitives.sample();
        // Nobody is always the first one.
        for index in 0..contenders.len() {
            let index = (index + round) % contenders.len();
            for shape in Shape::ALL {
                let sample = nanos(&mut contenders[index], shape);
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

/// A runtime on which timers can be registered without its driver being woken for each of them, as if others were
/// earlier: in a busy client there always is one.
pub(crate) fn runtime() -> io::Result<Rc<Runtime>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::spawn(sleep(Duration::from_secs(1)));
        sleep(Duration::from_millis(1)).await;
    });
    Ok(Rc::new(runtime))
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

/// The costs of all but the bare transport, without those of the bare transport in the same setting.
fn added(contenders: &[Contender], costs: &[Cost]) -> Vec<Added> {
    contenders
        .iter()
        .zip(costs)
        .filter(|(contender, _)| contender.who != BARE)
        .map(|(contender, cost)| {
            let bare = &costs[bare_index(contenders, contender)];
            let nanos = Shape::ALL.map(|shape| {
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
                kind: contender.kind,
                who: contender.who,
                nanos,
                heap,
                future: contender.future_bytes(),
            }
        })
        .collect()
}

/// Where the bare transport is in the setting of `contender`.
pub(super) fn bare_index(contenders: &[Contender], contender: &Contender) -> usize {
    let same = |bare: &Contender| bare.who == BARE && bare.setting == contender.setting;
    contenders.iter().position(same).unwrap_or(0)
}

fn costs_table(contenders: &[Contender], costs: &[Cost], added: &[Added]) -> Table {
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
    for (contender, cost) in contenders.iter().zip(costs) {
        if contender.who != BARE {
            continue;
        }
        table.row([
            contender.name(),
            "not added".to_owned(),
            Spread::of(&cost.nanos[0]).to_string(),
            Spread::of(&cost.nanos[1]).to_string(),
            pair(cost.heap.map(|heap| heap.0)),
            pair(cost.heap.map(|heap| heap.1)),
            String::new(),
        ]);
    }
    for added in added {
        table.row([
            added.kind.name().to_owned(),
            added.who.to_owned(),
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
        let of_kind = || added.iter().filter(|added| added.kind == kind);
        let Some(ours) = of_kind().find(|added| added.who == OURS) else {
            continue;
        };
        let nanos = ours.nanos.map(|nanos| nanos.median);
        let best = |what: &dyn Fn(&Added) -> [f64; 2]| {
            of_kind()
                .filter(|added| added.who != OURS)
                .map(what)
                .reduce(|[a, b], [c, d]| [a.min(c), b.min(d)])
        };
        let peer = best(&|added| added.nanos.map(|nanos| nanos.median));
        let ratio = peer.map(|peer| [nanos[0] / peer[0], nanos[1] / peer[1]]);
        let sum = primitives.sum(kind);
        table.row([
            kind.name().to_owned(),
            pair(nanos),
            peer.map_or_else(none, pair),
            ratio.map_or_else(none, |[a, b]| format!("{a:.2} / {b:.2}")),
            sum.map_or_else(none, pair),
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
