use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use http::Request;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, timeout},
};
use tower::{Service, ServiceExt};

use super::{
    Contender, Pace,
    log::{Answers, Log, Recorder},
};
use crate::kit::{cpu_of, heap_left_by};

/// Spawns a task that makes one call, with the given number in its body.
pub(super) type Joins = Box<dyn Fn(u32)>;

/// How long a crowd may take before the run counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Each task makes one call with a clone of `service`.
pub(super) fn joins<S>(service: S) -> Joins
where
    S: Service<Request<u32>, Future: Send, Response: Send, Error: Send> + Clone + Send + 'static,
{
    Box::new(move |index| {
        drop(tokio::spawn(service.clone().oneshot(Request::new(index))));
    })
}

/// The bytes that are allocated for one waiter: its task, and what the limit keeps of it, without
/// the request's own size. `waiters` tasks wait, and none of them gets through.
pub(super) fn heap_per_waiter(contender: &Contender, waiters: u32) -> io::Result<f64> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let recorder = Recorder::new(Arc::new(Log::new(waiters)), Answers::AtOnce);
    let joins = (contender.open)(true, recorder);
    let heap = heap_left_by(|| join(&runtime, waiters, &joins));
    Ok(heap / f64::from(waiters) - size_of::<Request<u32>>() as f64)
}

/// How a crowd got through.
pub(super) struct Outcome {
    /// CPU to spawn a task and to join the queue, in microseconds.
    pub(super) join: f64,
    /// CPU for each later waiter that gets through, in microseconds.
    pub(super) grant: f64,
    grants: Vec<(u32, Instant)>,
    /// How many waiters got through before all were waiting.
    joined: usize,
}

/// Makes `waiters` tasks wait, until `grants` of them have got through.
pub(super) fn drain(contender: &Contender, waiters: u32, grants: u32) -> io::Result<Outcome> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let log = Arc::new(Log::new(grants));
    let joins = (contender.open)(false, Recorder::new(Arc::clone(&log), Answers::AtOnce));
    let joining = cpu_of(|| join(&runtime, waiters, &joins));
    let joined = log.len();
    let left = (grants as usize).saturating_sub(joined).max(1);
    let mut in_time = true;
    let granting = cpu_of(|| {
        in_time = runtime.block_on(async { timeout(PATIENCE, log.done()).await.is_ok() });
    });
    if !in_time {
        return Err(io::Error::other(format!("{}: not in time", contender.who)));
    }
    Ok(Outcome {
        join: joining.as_secs_f64() * 1e6 / f64::from(waiters),
        grant: granting.as_secs_f64() * 1e6 / left as f64,
        grants: log.take(),
        joined,
    })
}

/// Spawns all tasks, and lets each be polled once.
fn join(runtime: &Runtime, waiters: u32, joins: &Joins) {
    runtime.block_on(async {
        // From inside the runtime, so that they are polled in order, and before any task that one
        // of them woke.
        (0..waiters).for_each(joins);
        // The spawn fails only if the runtime is gone.
        let _ = tokio::spawn(async {}).await;
    });
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

impl Outcome {
    /// What got through while all tasks waited, in percent of what the rate allows.
    pub(super) fn delivered(&self, pace: Pace) -> f64 {
        // The tokens that came back while the tasks joined are spent with the first few.
        let steady = self.grants.get(self.joined + 2 * pace.burst as usize..);
        let Some([(_, first), .., (_, last)]) = steady else {
            return f64::NAN;
        };
        let allowed = last.duration_since(*first).as_secs_f64() * f64::from(pace.per_second);
        100.0 * steady.map_or(0.0, |steady| steady.len() as f64 - 1.0) / allowed
    }

    /// The most calls that got through within `window`, wherever it begins.
    pub(super) fn most_in(&self, window: Duration) -> usize {
        let mut within = VecDeque::new();
        let mut most = 0;
        for (_, at) in &self.grants {
            within.push_back(*at);
            while within
                .front()
                .is_some_and(|first| at.duration_since(*first) > window)
            {
                within.pop_front();
            }
            most = most.max(within.len());
        }
        most
    }

    /// The most calls that got through within any of several windows, in percent of what the pace
    /// allows for the window.
    pub(super) fn excess(&self, pace: Pace) -> f64 {
        let percent = |millis| {
            let window = Duration::from_millis(millis);
            let allowed = f64::from(pace.burst) + f64::from(pace.per_second) * window.as_secs_f64();
            100.0 * self.most_in(window) as f64 / allowed
        };
        [1, 10, 100, 1000]
            .map(percent)
            .into_iter()
            .fold(0.0, f64::max)
    }

    /// The most places that a waiter lost to waiters that came later.
    pub(super) fn places_lost(&self) -> u32 {
        let places = self.grants.iter().zip(0_u32..);
        let lost = places.map(|((index, _), place)| place.saturating_sub(*index));
        lost.max().unwrap_or(0)
    }
}
