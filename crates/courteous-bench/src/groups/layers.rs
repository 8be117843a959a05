//! Group 1: what each layer, and all five together, add to a call that neither waits nor fails.

use std::{io, rc::Rc, time::Duration};

use tokio::{runtime::Runtime, time::sleep};

use super::{Effort, primitives::Primitives};
use crate::{
    contenders::{self, Contender, Driver, Kind, OURS},
    kit::{Shape, Spread, Table, collected, count, cpu_of, heap_of},
};

/// Requests in a batch: made before, so that only the calls are measured, and few enough for the cache.
const BATCH: usize = 128;
/// Batches to a sample.
const BATCHES: usize = 16;

/// The argument by which the program is told that it runs under callgrind.
pub(crate) const COUNTED: &str = "--counted";

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
    let mut contenders = Vec::from(contenders::baselines(&runtime));
    contenders.extend(contenders::all(&runtime));
    let mut primitives = Primitives::new();
    let mut costs: Vec<Cost> = contenders.iter().map(|_| Cost::default()).collect();
    for (contender, cost) in contenders.iter_mut().zip(&mut costs) {
        for shape in Shape::ALL {
            nanos(contender, shape);
            cost.heap[shape as usize] = heap(contender, shape);
        }
    }
    for round in 0..effort.of(20, 100) {
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
    let added = added(&mut contenders, &costs);
    Ok(format!(
        "{}\n{}\n{}",
        costs_table(&added, &costs),
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
    let mut spent = Duration::ZERO;
    let mut requests = Vec::with_capacity(BATCH);
    for _ in 0..BATCHES {
        requests.extend((0..BATCH).map(|_| contender.kind.request(shape)));
        let calls = contender.calls(shape);
        spent += cpu_of(|| collected(calls, &mut requests));
    }
    spent.as_nanos() as f64 / (BATCHES * BATCH) as f64
}

fn heap(contender: &mut Contender, shape: Shape) -> (f64, f64) {
    let mut requests: Vec<_> = (0..BATCH).map(|_| contender.kind.request(shape)).collect();
    let calls = contender.calls(shape);
    let (allocations, bytes) = heap_of(|| collected(calls, &mut requests));
    (
        allocations as f64 / BATCH as f64,
        bytes as f64 / BATCH as f64,
    )
}

/// The costs without those of the bare transport, which are the first two.
fn added(contenders: &mut [Contender], costs: &[Cost]) -> Vec<Added> {
    let contenders = contenders.iter_mut().zip(costs).skip(2);
    contenders
        .map(|(contender, cost)| {
            let bare = &costs[usize::from(contender.driver == Driver::Runtime)];
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
                future: Shape::ALL.map(|shape| contender.calls(shape).future_bytes()),
            }
        })
        .collect()
}

fn costs_table(added: &[Added], costs: &[Cost]) -> Table {
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
    for (name, cost) in ["by hand", "by a runtime"].iter().zip(costs) {
        table.row([
            "(bare transport, not added)".to_owned(),
            format!("polled {name}"),
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

/// The instructions of a call: a name, and those of each shape.
pub(crate) type Instructions = Vec<(Kind, &'static str, [f64; 2])>;

/// How many instructions the layers add to a call; those of the bare transport by hand come first, not added.
pub(crate) fn instructions(ours_only: bool) -> io::Result<Instructions> {
    let which = if ours_only { "ours" } else { "all" };
    let counts = count(&[COUNTED, which])?;
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let contenders = counted(&runtime, ours_only);
    if counts.len() != 2 * contenders.len() {
        return Err(io::Error::other("a count is missing"));
    }
    let per_call = |index: usize| -> [f64; 2] {
        [0, 1].map(|shape| counts[2 * index + shape] as f64 / BATCH as f64)
    };
    let mut instructions = vec![(Kind::Five, "bare", per_call(0))];
    for (index, contender) in contenders.iter().enumerate().skip(2) {
        let bare = per_call(usize::from(contender.driver == Driver::Runtime));
        let with = per_call(index);
        let added = [with[0] - bare[0], with[1] - bare[1]];
        instructions.push((contender.kind, contender.who, added));
    }
    Ok(instructions)
}

/// What is to be run under callgrind: each contender once, in each shape, after a first batch that does not count.
pub(crate) fn run_counted(ours_only: bool) -> io::Result<()> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    for mut contender in counted(&runtime, ours_only) {
        for shape in Shape::ALL {
            let batch = || (0..BATCH).map(|_| contender.kind.request(shape)).collect();
            let (mut first, mut second) = (batch(), batch());
            let calls = contender.calls(shape);
            calls.run(&mut first);
            collected(calls, &mut second);
        }
    }
    Ok(())
}

fn counted(runtime: &Rc<Runtime>, ours_only: bool) -> Vec<Contender> {
    let mut contenders = Vec::from(contenders::baselines(runtime));
    contenders.extend(match ours_only {
        true => contenders::ours(),
        false => contenders::all(runtime),
    });
    contenders
}

pub(crate) fn instructions_table(instructions: &Instructions) -> Table {
    let mut table = Table::new(2, ["layer", "who", "instructions, floor", "realistic"]);
    for (index, (kind, who, [floor, realistic])) in instructions.iter().enumerate() {
        let name = match index {
            0 => "(bare transport, not added)",
            _ => kind.name(),
        };
        table.row([
            name.to_owned(),
            (*who).to_owned(),
            format!("{floor:.0}"),
            format!("{realistic:.0}"),
        ]);
    }
    table
}
