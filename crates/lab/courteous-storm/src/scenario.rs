use std::{num::NonZeroUsize, ops::Range};

use crate::{Tick, quota::QuotaRule};

/// What a fleet goes through: a server, its troubles, and the load. [`catalogue`](crate::catalogue)
/// has the scenarios.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) clients: usize,
    pub(crate) seed: u64,
    pub(crate) load: Load,
    /// The tiers, from the tier that the clients call to the last.
    pub(crate) tiers: Vec<Tier>,
    /// When the trouble begins and ends. `None` if it lasts all the time.
    pub(crate) trigger: Option<Range<Tick>>,
    /// When all clients restart at once: their calls in flight end, and each client continues with
    /// a new stack.
    pub(crate) restart: Option<Tick>,
    /// Which calls are counted.
    pub(crate) count: Count,
    /// How long an attempt and a call may take. A batch's call may take as long as it likes.
    pub(crate) timeouts: (Tick, Tick),
    /// The share of the clients that retry three times at once, whatever the others do.
    pub(crate) naive: f64,
    /// How many calls each hop may have in flight, for stacks that have a fixed limit, too.
    pub(crate) hop_limit: Option<NonZeroUsize>,
    /// Whether a budget would hide what the scenario must show.
    pub(crate) budget_off: bool,
}

/// The calls that a result is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Those from the beginning of the trouble on, or after a warm-up if there is none.
    Usual,
    /// Those that begin in the trouble.
    InTrouble,
    /// Those from so long after the beginning of the trouble on; twice as long with a thousand
    /// clients, which make a call each 1.4 s.
    Settled(Tick),
    All,
}

/// The load on the server.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// Calls that arrive at their own pace, whether or not earlier calls have ended.
    Open {
        per_second: f64,
        /// The factor by which the load grows for a while.
        surge: Option<(Range<Tick>, f64)>,
        end: Tick,
    },
    /// So many calls at once, at the beginning.
    Burst { calls: usize, end: Tick },
    /// Each client has `jobs` to do, `parallel` at a time. Given up at `cap`.
    Batch {
        parallel: usize,
        jobs: usize,
        cap: Tick,
    },
}

/// Equal servers; each attempt reaches one of them at random.
#[derive(Clone, Debug)]
pub(crate) struct Tier {
    pub(crate) replicas: usize,
    /// The workers of each replica.
    pub(crate) workers: usize,
    /// The share of the workers that is present, from each time on.
    pub(crate) capacity: Vec<(Tick, f64)>,
    /// How many requests may wait at each replica.
    pub(crate) room: Option<usize>,
    /// Whether a full replica says nothing, instead of answering 503.
    pub(crate) full_silent: bool,
    pub(crate) quota: Option<QuotaRule>,
    /// Whether work for clients that have given up is still done.
    pub(crate) does_dead_work: bool,
    pub(crate) faults: Vec<FaultSpan>,
    /// The share of the answers that is late, and by how much.
    pub(crate) straggle: Option<(f64, Tick)>,
    /// By how much every answer is later, from each time on, without more work.
    pub(crate) lag: Vec<(Tick, Tick)>,
    /// The factor by which all work takes longer, from each time on.
    pub(crate) slowness: Vec<(Tick, f64)>,
    /// How long it takes to connect, before each attempt.
    pub(crate) connect: Tick,
}

/// A fault that lasts for a while.
#[derive(Clone, Debug)]
pub(crate) struct FaultSpan {
    pub(crate) during: Range<Tick>,
    /// Affects only this replica.
    pub(crate) replica: Option<usize>,
    pub(crate) kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FaultKind {
    /// Nothing gets through in either direction, and no side is told.
    BlackHole,
    /// Connections are refused.
    Refused,
    /// This share of requests is answered 500, after the usual work.
    Errors(f64),
    /// This share of requests or of their answers, half each, is lost.
    Loss(f64),
}

/// How long one request takes, on average.
pub(crate) const SERVICE: f64 = 50.0;
/// How much that time varies: the deviation of its logarithm.
pub(crate) const SPREAD: f64 = 0.5;
/// How long a rejection takes.
pub(crate) const REJECTION: Tick = 5;
/// How long a message takes, in either direction.
pub(crate) const NETWORK: Tick = 1;
pub(crate) const ATTEMPT_TIMEOUT: Tick = 500;
pub(crate) const TOTAL_TIMEOUT: Tick = 2_000;
/// The most attempts for a batch's job.
pub(crate) const BATCH_ATTEMPTS: u32 = 50;
/// When troubles begin, and when counting begins if there is no trouble.
pub(crate) const WARM: Tick = 40_000;

impl Scenario {
    /// The scenario's name, such as `S3-refused`.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        self.id
    }

    /// The part of the name that all variants share, such as `S3`.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split('-').next().unwrap_or(self.id)
    }

    /// What happens, in a few words.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// How many client processes share the calls, each with its own stack.
    #[must_use]
    pub const fn clients(&self) -> usize {
        self.clients
    }

    /// The seed of a run's random numbers.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The same scenario with this many clients. In a batch, each client then has as many jobs as
    /// before. Zero counts as one.
    #[must_use]
    pub fn with_clients(mut self, clients: usize) -> Self {
        self.clients = clients.max(1);
        self
    }

    /// The same scenario with another seed.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether the scenario is over when its jobs are done.
    #[must_use]
    pub const fn is_batch(&self) -> bool {
        matches!(self.load, Load::Batch { .. })
    }

    /// The instants at which counting begins and ends.
    pub(crate) fn counted(&self) -> Range<Tick> {
        let end = self.end();
        match (self.count, &self.trigger) {
            _ if self.is_batch() => 0..end,
            (Count::All, _) => 0..end,
            (Count::InTrouble, Some(trigger)) => trigger.clone(),
            (Count::Settled(after), Some(trigger)) => {
                let times = if self.clients < 1_000 { 1 } else { 2 };
                trigger.start + times * after..end
            }
            (_, Some(trigger)) => trigger.start..end,
            (_, None) => WARM..end,
        }
    }

    /// When no more calls begin.
    pub(crate) const fn end(&self) -> Tick {
        match self.load {
            Load::Batch { cap: end, .. } | Load::Open { end, .. } | Load::Burst { end, .. } => end,
        }
    }

    /// How long a call may take; `None` for batches.
    pub(crate) fn total_timeout(&self) -> Option<Tick> {
        (!self.is_batch()).then_some(self.timeouts.1)
    }
}

impl Tier {
    /// 50 workers, that is 1,000 requests a second, and an endless queue.
    pub(crate) const fn new() -> Self {
        Self {
            replicas: 1,
            workers: 50,
            capacity: Vec::new(),
            room: None,
            full_silent: false,
            quota: None,
            does_dead_work: true,
            faults: Vec::new(),
            straggle: None,
            lag: Vec::new(),
            slowness: Vec::new(),
            connect: 0,
        }
    }

    pub(crate) fn with_fault(mut self, during: Range<Tick>, kind: FaultKind) -> Self {
        self.faults.push(FaultSpan {
            during,
            replica: None,
            kind,
        });
        self
    }

    /// What is wrong with a replica now.
    pub(crate) fn faults_at(
        &self,
        now: Tick,
        replica: usize,
    ) -> impl Iterator<Item = FaultKind> + '_ {
        let here = move |fault: &&FaultSpan| {
            fault.during.contains(&now) && fault.replica.is_none_or(|only| only == replica)
        };
        self.faults.iter().filter(here).map(|fault| fault.kind)
    }

    /// How much later an answer is that is ready now.
    pub(crate) fn lag_at(&self, now: Tick) -> Tick {
        latest(&self.lag, now).unwrap_or_default()
    }

    /// By what factor work takes longer that begins now.
    pub(crate) fn slowness_at(&self, now: Tick) -> f64 {
        latest(&self.slowness, now).unwrap_or(1.0)
    }

    /// The workers of a replica when `share` of them is there.
    pub(crate) fn staff(&self, share: f64) -> usize {
        (self.workers as f64 * share).round() as usize
    }
}

/// The value that holds at `now`.
pub(crate) fn latest<T: Copy>(values: &[(Tick, T)], now: Tick) -> Option<T> {
    let latest = values.iter().rfind(|(at, _)| *at <= now);
    latest.map(|(_, value)| *value)
}
