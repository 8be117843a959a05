//! Group 6: what one failed attempt costs in addition to its wait.

mod retries;
mod sick;

use std::{io, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    time::sleep,
};

use self::{
    retries::{Contender, IN_MEMORY, contenders},
    sick::Failure,
};
use super::Effort;
use crate::{
    contenders::OURS,
    kit::{Spread, Table, cpu_of, heap_of, to_best},
};

/// What is compared: how an attempt fails, and how many bytes its request's body has.
const CASES: [(Failure, usize); 7] = [
    (Failure::Unavailable, 0),
    (Failure::WithHint, 0),
    (Failure::WithBody, 0),
    (Failure::Refused, 0),
    (Failure::Unavailable, 1 << 10),
    (Failure::Unavailable, 64 << 10),
    (Failure::Unavailable, 1 << 20),
];

/// The table of the group.
pub(crate) fn run(effort: Effort) -> io::Result<String> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let contenders = contenders();
    let mut rows = Vec::new();
    for (failure, bytes) in CASES {
        let apply = contenders
            .iter()
            .filter(|contender| bytes > 0 || contender.body == IN_MEMORY);
        rows.extend(apply.map(|contender| Row {
            failure,
            bytes,
            contender,
            micros: Vec::new(),
            heap: (0.0, 0.0),
        }));
    }
    let tasks = effort.of(200, 1000);
    for _ in 0..effort.of(5, 25) {
        rows.iter_mut().for_each(|row| row.sample(&runtime, tasks));
    }
    let mut table = Table::new(
        3,
        [
            "failure",
            "request body",
            "who",
            "CPU, us (min < **median** < max)",
            "ours / best peer",
            "allocations",
            "bytes allocated",
        ],
    );
    for row in &rows {
        let micros = Spread::of(&row.micros);
        let peers = rows
            .iter()
            .filter(|peer| peer.contender.who != OURS && peer.contender.body == row.contender.body)
            .filter(|peer| (peer.failure, peer.bytes) == (row.failure, row.bytes))
            .map(|peer| Spread::of(&peer.micros).median);
        table.row([
            row.failure.name().to_owned(),
            match row.bytes {
                0 => "none".to_owned(),
                bytes => format!("{} KiB, {}", bytes >> 10, row.contender.body),
            },
            row.contender.who.to_owned(),
            format!("{micros:.2}"),
            match row.contender.who {
                OURS => to_best(micros.median, peers),
                _ => "-".to_owned(),
            },
            format!("{:.1}", row.heap.0),
            format!("{:.0}", row.heap.1),
        ]);
    }
    Ok(format!(
        "Many calls at a time fail once and succeed after 1 ms; less the same calls without the failure. The second attempt \
         itself is in it. Peers retry bodies in memory only.\n\n{table}"
    ))
}

/// What is measured of one contender in one case.
struct Row<'a> {
    failure: Failure,
    bytes: usize,
    contender: &'a Contender,
    micros: Vec<f64>,
    /// Allocations and bytes.
    heap: (f64, f64),
}

impl Row<'_> {
    fn sample(&mut self, runtime: &Runtime, tasks: usize) {
        // Only a few large bodies at a time, as they are kept.
        let tasks = match self.bytes > 64 << 10 {
            true => tasks / 20,
            false => tasks,
        };
        let crowd = |failure| {
            let work = || {
                runtime.block_on(async {
                    for _ in 0..tasks {
                        (self.contender.spawn)(failure, self.bytes);
                    }
                    while runtime.metrics().num_alive_tasks() > 0 {
                        sleep(Duration::from_millis(1)).await;
                    }
                });
            };
            let micros = cpu_of(work).as_secs_f64() * 1e6;
            let (allocations, bytes) = heap_of(work);
            [micros, allocations as f64, bytes as f64].map(|cost| cost / tasks as f64)
        };
        let (with, without) = (crowd(self.failure), crowd(Failure::None));
        let [micros, allocations, bytes] = [0, 1, 2].map(|index| with[index] - without[index]);
        self.micros.push(micros);
        self.heap = (allocations, bytes);
    }
}
