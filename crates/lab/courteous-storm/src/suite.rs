use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{Metrics, Report, Results, Scenario, Stack, catalogue};

/// Scenarios and stacks to compare.
#[derive(Clone, Debug)]
pub struct Suite {
    scenarios: Vec<Scenario>,
    stacks: Vec<Stack>,
    seeds: u64,
}

/// The numbers of clients to try in scenarios where the number matters.
const CLIENTS: [usize; 3] = [5, 100, 1000];

impl Suite {
    /// Everything.
    #[must_use]
    pub fn full() -> Self {
        let several = |scenario: Scenario| {
            let matters = ["S1", "S2", "S3", "S5", "S11"].contains(&scenario.group());
            let clients = if matters { &CLIENTS[..] } else { &[] };
            let one = (!matters).then(|| scenario.clone());
            let some = clients
                .iter()
                .map(move |n| scenario.clone().with_clients(*n));
            one.into_iter().chain(some)
        };
        Self {
            scenarios: catalogue().into_iter().flat_map(several).collect(),
            stacks: Stack::ALL.to_vec(),
            seeds: 1,
        }
    }

    /// All scenarios, with the stacks that the [floors](Results::floors) are about.
    #[must_use]
    pub fn quick() -> Self {
        Self::full().with_stacks([
            Stack::NoRetry,
            Stack::Courteous,
            Stack::CourteousAdaptive,
            Stack::CourteousEqual,
            Stack::CourteousDecorrelated,
        ])
    }

    /// Only the scenarios with these names: `S3-silent`, or `S3` for all of its variants.
    #[must_use]
    pub fn with_scenarios<I: AsRef<str>>(mut self, ids: &[I]) -> Self {
        self.scenarios.retain(|scenario| {
            let names = [scenario.id(), scenario.group()];
            ids.iter().any(|id| names.contains(&id.as_ref()))
        });
        self
    }

    /// With these stacks.
    #[must_use]
    pub fn with_stacks(mut self, stacks: impl IntoIterator<Item = Stack>) -> Self {
        self.stacks = stacks.into_iter().collect();
        self
    }

    /// With this many clients, except for batches, whose clients are a part of the scenario.
    #[must_use]
    pub fn with_clients(mut self, clients: usize) -> Self {
        for scenario in self.scenarios.iter_mut().filter(|it| !it.is_batch()) {
            *scenario = scenario.clone().with_clients(clients);
        }
        self.scenarios
            .dedup_by(|a, b| (a.id(), a.clients()) == (b.id(), b.clients()));
        self
    }

    /// From another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        for scenario in &mut self.scenarios {
            *scenario = scenario.clone().with_seed(seed);
        }
        self
    }

    /// With this many seeds, from the first one on: the results are means.
    #[must_use]
    pub fn with_seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds.max(1);
        self
    }

    /// Runs everything, each run on its own thread, as many at once as there are processors.
    ///
    /// # Errors
    ///
    /// If no thread or no runtime can be created.
    pub fn run(&self) -> io::Result<Results> {
        let pairs = self.scenarios.iter().flat_map(|scenario| {
            let stacks = self.stacks.iter().filter(|stack| stack.is_for(scenario));
            stacks.map(move |stack| (scenario, *stack))
        });
        let runs: Vec<_> = pairs
            .flat_map(|pair| (0..self.seeds).map(move |n| (pair, n)))
            .map(|((scenario, stack), n)| (scenario.clone().with_seed(scenario.seed() + n), stack))
            .collect();
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let work = || -> io::Result<()> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((scenario, stack)) = runs.get(index) else {
                    return Ok(());
                };
                let report = on_a_thread(scenario, *stack)?;
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((index, report));
            }
        };
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
            let panicked = |_| Err(io::Error::other("a run has panicked"));
            let mut joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
            joined.try_for_each(|result| result.unwrap_or_else(panicked))
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        let reports: Vec<_> = done.into_iter().map(|(_, report)| report).collect();
        let means = reports.chunks(self.seeds as usize).filter_map(mean);
        Ok(Results::new(means.collect()))
    }
}

/// The thread's own random numbers start again with each thread.
fn on_a_thread(scenario: &Scenario, stack: Stack) -> io::Result<Report> {
    thread::scope(|scope| {
        let run = thread::Builder::new().spawn_scoped(scope, || stack.run(scenario))?;
        run.join()
            .unwrap_or_else(|_| Err(io::Error::other("a run has panicked")))
    })
}

/// One report for the runs of several seeds, with the timeline of the first run.
fn mean(reports: &[Report]) -> Option<Report> {
    let (first, rest) = reports.split_first()?;
    if rest.is_empty() {
        return Some(first.clone());
    }
    let of = |metrics: fn(&Report) -> &Metrics| {
        Metrics::mean(&reports.iter().map(|it| *metrics(it)).collect::<Vec<_>>())
    };
    Some(
        first
            .clone()
            .with_metrics(of(Report::metrics), of(Report::oracle)),
    )
}
