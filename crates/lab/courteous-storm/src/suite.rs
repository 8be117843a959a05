use std::{
    io,
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{Report, Results, Scenario, Stack, catalogue, catalogue::shorter};

/// Scenarios and stacks to compare.
#[derive(Clone, Debug)]
pub struct Suite {
    scenarios: Vec<Scenario>,
    stacks: Vec<Stack>,
    seeds: u64,
    /// How many seeds the stack is run with that the floors are about.
    own_seeds: u64,
    /// Whether stacks take part only in scenarios in which a floor depends on them.
    quick: bool,
}

/// The numbers of clients to try in scenarios where the number matters.
const CLIENTS: [usize; 3] = [5, 100, 1000];
/// Further numbers, for the scenarios that most depend on it.
const MORE_CLIENTS: [usize; 7] = [1, 5, 20, 100, 300, 1000, 3000];
/// The scenarios in which it matters.
const SIZED: [&str; 10] = [
    "S1", "S2", "S3", "S5", "S11", "S12", "S13", "S14", "S15", "S18",
];

impl Suite {
    /// Everything.
    #[must_use]
    pub fn full() -> Self {
        Self::of(catalogue(), &MORE_CLIENTS)
    }

    fn of(scenarios: Vec<Scenario>, more_clients: &'static [usize]) -> Self {
        let several = |scenario: Scenario| {
            let matters = SIZED.contains(&scenario.group());
            let clients = match scenario.id() {
                "S1" | "S2" => more_clients,
                _ if matters => &CLIENTS,
                _ => &[],
            };
            let one = (!matters).then(|| scenario.clone());
            let some = clients
                .iter()
                .map(move |n| scenario.clone().with_clients(*n));
            one.into_iter().chain(some)
        };
        Self {
            scenarios: scenarios.into_iter().flat_map(several).collect(),
            stacks: Stack::ALL.to_vec(),
            seeds: 1,
            own_seeds: 1,
            quick: false,
        }
    }

    /// All scenarios, with the stacks that the [floors](Results::floors) are about; fewer numbers
    /// of clients, and less time for what lasts long.
    #[must_use]
    pub fn quick() -> Self {
        let judged = |stack: &Stack| *stack == Stack::NoRetry || stack.is_ours();
        let mut quick = Self::of(shorter(), &CLIENTS);
        quick = quick.with_stacks(Stack::ALL.into_iter().filter(judged));
        quick.quick = true;
        quick
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

    /// With these stacks, in all scenarios that they are for.
    #[must_use]
    pub fn with_stacks(mut self, stacks: impl IntoIterator<Item = Stack>) -> Self {
        self.stacks = stacks.into_iter().collect();
        self.quick = false;
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
        self.own_seeds = self.seeds;
        self
    }

    /// With this many seeds for the stack that ships, and one for all others.
    #[must_use]
    pub fn with_own_seeds(mut self, seeds: u64) -> Self {
        self.seeds = 1;
        self.own_seeds = seeds.max(1);
        self
    }

    /// Runs everything, each run on its own thread, as many at once as there are processors.
    ///
    /// # Errors
    ///
    /// If no thread or no runtime can be created.
    pub fn run(&self) -> io::Result<Results> {
        let pairs = self.scenarios.iter().flat_map(|scenario| {
            let counts = |stack: &Stack| !self.quick || stack.is_judged(scenario);
            let stacks = self.stacks.iter().filter(move |stack| counts(stack));
            let stacks = stacks.filter(|stack| stack.is_for(scenario));
            stacks.map(move |stack| (scenario, *stack))
        });
        let seeds = |stack: Stack| match stack {
            Stack::SHIPPED | Stack::CourteousOldest => self.own_seeds,
            _ => self.seeds,
        };
        let runs: Vec<_> = pairs
            .flat_map(|pair| (0..seeds(pair.1)).map(move |n| (pair, n)))
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
        let place = |it: &Report| (it.scenario().id(), it.scenario().clients());
        let same = |a: &Report, b: &Report| place(a) == place(b) && a.stack() == b.stack();
        let means = reports.chunk_by(same).filter_map(Report::mean);
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
