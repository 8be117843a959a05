//! Group 4: what layers cost when two threads use one service.

use std::{convert::Infallible, future::poll_fn, io, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

use super::Effort;
use crate::{
    contenders::{self, Kind, Measurable, Visit, Who},
    kit::{Shape, Spread, Table, Transport, to_best},
};

const TASKS: usize = 1000;

/// The table of the group.
pub(crate) fn run(effort: Effort) -> io::Result<String> {
    let mut samples: Vec<Samples> = Vec::new();
    for _ in 0..effort.of(3, 9) {
        for threads in [1, 2] {
            let runtime = Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_all()
                .build()?;
            let mut crowd = Crowd {
                runtime,
                calls: effort.of(10, 50),
                samples: &mut samples,
                threads,
            };
            contenders::bare(&mut crowd);
            contenders::ours(&mut crowd);
            contenders::peers(&mut crowd);
        }
    }
    samples.sort_by_key(|samples| (!samples.who.is_bare(), samples.who.kind));
    Ok(format!(
        "{TASKS} tasks make calls one after the other, with clones of one service; the transport is pending once. Time, not \
         CPU, of a call.\n\n{}",
        table(&samples)
    ))
}

/// Nanoseconds of a call, by the number of threads, a sample for each round.
struct Samples {
    who: Who,
    nanos: [Vec<f64>; 2],
}

struct Crowd<'a> {
    runtime: Runtime,
    threads: usize,
    /// How many calls each task makes.
    calls: usize,
    samples: &'a mut Vec<Samples>,
}

impl Visit for Crowd<'_> {
    type Body = Empty<Bytes>;
    type Error = Infallible;
    type Client = Transport;

    fn visit<S: Measurable>(&mut self, who: Who, around: impl Fn(Transport) -> S) {
        if who.is_bare() && who.has_task {
            // Here, a runtime polls all contenders.
            return;
        }
        let _entered = self.runtime.enter();
        let service = around(Transport { pending: true });
        let nanos = self.time(&service, who.kind).as_nanos() as f64;
        let known = self.samples.iter_mut().find(|samples| samples.who == who);
        let samples = match known {
            Some(samples) => samples,
            None => {
                self.samples.push(Samples {
                    who,
                    nanos: [Vec::new(), Vec::new()],
                });
                match self.samples.last_mut() {
                    Some(samples) => samples,
                    None => return,
                }
            }
        };
        samples.nanos[self.threads - 1].push(nanos / (TASKS * self.calls) as f64);
    }
}

impl Crowd<'_> {
    fn time<S: Measurable>(&self, service: &S, kind: Kind) -> Duration {
        self.runtime.block_on(async {
            let start = Instant::now();
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| tokio::spawn(calls(service.clone(), kind, self.calls)))
                .collect();
            for task in tasks {
                if let Err(error) = task.await {
                    panic!("{error}");
                }
            }
            start.elapsed()
        })
    }
}

async fn calls<S: Measurable>(service: S, kind: Kind, times: usize) {
    for _ in 0..times {
        let mut service = service.clone();
        let ready = poll_fn(|cx| service.poll_ready(cx)).await;
        assert!(ready.is_ok(), "not ready");
        let call = service.call(Shape::Realistic.request(kind.is_keyed()));
        drop(service);
        if let Err(error) = call.await {
            panic!("the call failed: {error:?}");
        }
    }
}

fn table(samples: &[Samples]) -> Table {
    let mut table = Table::new(
        2,
        [
            "layer",
            "who",
            "1 thread: ns (min < **median** < max)",
            "2 threads: ns",
            "gain",
            "ours / best peer, 2 threads",
        ],
    );
    let all = samples;
    for samples in all {
        let peers = all
            .iter()
            .filter(|other| other.who.kind == samples.who.kind)
            .filter(|other| !other.who.is_ours() && !other.who.is_bare())
            .map(|peer| Spread::of(&peer.nanos[1]).median);
        let [one, two] = [0, 1].map(|index| Spread::of(&samples.nanos[index]));
        let name = match (samples.who.is_bare(), samples.who.kind.is_keyed()) {
            (true, true) => "(bare transport, idempotent requests)",
            (true, false) => "(bare transport)",
            (false, _) => samples.who.kind.name(),
        };
        table.row([
            name.to_owned(),
            samples.who.name.to_owned(),
            one.to_string(),
            two.to_string(),
            format!("{:.2}", one.median / two.median),
            match samples.who.is_ours() {
                true => to_best(two.median, peers),
                false => "-".to_owned(),
            },
        ]);
    }
    table
}
