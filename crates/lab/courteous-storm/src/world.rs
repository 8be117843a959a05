use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode, header::RETRY_AFTER};
use http_body_util::Empty;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep},
};

use crate::{
    Tick,
    agenda::Agenda,
    chance::{Chance, Stream},
    log::Log,
    scenario::{FaultKind, NETWORK, REJECTION, SERVICE, SPREAD, Scenario, Tier},
    server::{Refusal, Server, Task},
};

pub(crate) type Answer = io::Result<Response<Empty<Bytes>>>;

/// The network and the servers behind it, moved by one timer.
///
/// Everything happens at whole milliseconds of virtual time. Events of the same millisecond happen
/// in the order in which they were planned. So a run depends only on its seed.
#[derive(Debug)]
pub(crate) struct World {
    start: Instant,
    events: Agenda<Event>,
    tiers: Vec<Tier>,
    servers: Vec<Vec<Server<Attempt>>>,
    work: Chance,
    network: Chance,
    pub(crate) log: Log,
    /// Requests that a tier has processed, and now passes on to the next tier.
    forwards: Vec<Forward>,
    /// How many of these have not been answered yet.
    passed_on: usize,
    /// When the timer fires, and the task that waits for it.
    armed: Tick,
    pump: Option<Waker>,
}

/// A handle on the world.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<World>>);

/// A request on its way, and the way back.
#[derive(Debug)]
pub(crate) struct Attempt {
    reply: oneshot::Sender<Answer>,
    tier: usize,
    replica: usize,
    answer_lost: bool,
    /// The workers' time that was spent on it.
    work: Tick,
}

/// A request that waits for the answer of the next tier.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) to: usize,
    pub(crate) attempt: Attempt,
}

#[derive(Debug)]
enum Event {
    Arrive(Attempt),
    /// A worker is done: with an attempt, or with a rejection.
    Done(usize, usize, Option<(Attempt, StatusCode)>),
    Deliver(Attempt, Answer),
    Staff(usize, f64),
}

impl Attempt {
    /// The replica of its tier that has the attempt.
    pub(crate) const fn replica(&self) -> usize {
        self.replica
    }
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let tiers = scenario.tiers.clone();
        let servers = tiers.iter().map(|tier| {
            let replica = |_| Server::new(tier.staff(1.0), tier.room, tier.quota);
            (0..tier.replicas).map(replica).collect()
        });
        let mut world = Self {
            start: Instant::now(),
            events: Agenda::new(),
            servers: servers.collect(),
            work: Chance::new(scenario.seed, Stream::Work),
            network: Chance::new(scenario.seed, Stream::Network),
            log: Log::default(),
            forwards: Vec::new(),
            passed_on: 0,
            armed: 0,
            pump: None,
            tiers: Vec::new(),
        };
        for (index, tier) in tiers.iter().enumerate() {
            for &(at, share) in &tier.capacity {
                world.plan(at, Event::Staff(index, share));
            }
        }
        world.tiers = tiers;
        world
    }

    pub(crate) fn now(&self) -> Tick {
        self.start.elapsed().as_millis() as Tick
    }

    /// Sends a request to a tier. If the request is lost, the receiver never gets an answer.
    fn send(&mut self, tier: usize, call: Option<u32>) -> oneshot::Receiver<Answer> {
        let now = self.now();
        if tier + 1 == self.tiers.len() {
            self.log.sent(now);
        }
        if let Some(call) = call {
            self.log.attempted(call, now);
        }
        let (reply, answer) = oneshot::channel();
        let required = &self.tiers[tier];
        let replica = self.network.below(required.replicas);
        let mut attempt = Attempt {
            reply,
            tier,
            replica,
            answer_lost: false,
            work: 0,
        };
        let (mut lost, mut refused) = (false, false);
        for fault in required.faults_at(now, replica) {
            match fault {
                FaultKind::BlackHole => lost = true,
                FaultKind::Refused => refused = true,
                FaultKind::Loss(share) if self.network.hits(share) => {
                    if self.network.hits(0.5) {
                        lost = true;
                    } else {
                        attempt.answer_lost = true;
                    }
                }
                FaultKind::Loss(_) | FaultKind::Errors(_) => {}
            }
        }
        let there = now + NETWORK + required.connect;
        if refused {
            self.plan(there + NETWORK, Event::Deliver(attempt, Err(refusal())));
        } else if !lost {
            self.plan(there, Event::Arrive(attempt));
        }
        answer
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_quiet(&self) -> bool {
        self.events.next_at().is_none() && self.passed_on == 0
    }

    /// Answers a request that was passed on.
    pub(crate) fn answer_forward(&mut self, forward: Forward, well: bool) {
        self.passed_on -= 1;
        let status = if well {
            StatusCode::OK
        } else {
            StatusCode::BAD_GATEWAY
        };
        let now = self.now();
        self.reply(now, forward.attempt, answer(status));
    }

    fn plan(&mut self, at: Tick, event: Event) {
        self.events.plan(at, event);
        if at < self.armed
            && let Some(pump) = self.pump.take()
        {
            pump.wake();
        }
    }

    /// Runs everything that is due.
    fn run(&mut self) {
        let now = self.now();
        while let Some(event) = self.events.due(now) {
            match event {
                Event::Arrive(attempt) => self.arrive(now, attempt),
                Event::Done(tier, replica, job) => {
                    self.servers[tier][replica].done();
                    if let Some((attempt, status)) = job {
                        self.finish(now, attempt, status);
                    }
                    self.employ(now, tier, replica);
                }
                Event::Deliver(attempt, answer) => self.deliver(now, attempt, answer),
                Event::Staff(tier, share) => {
                    let workers = self.tiers[tier].staff(share);
                    for replica in 0..self.servers[tier].len() {
                        self.servers[tier][replica].set_workers(workers);
                        self.employ(now, tier, replica);
                    }
                }
            }
        }
    }

    fn arrive(&mut self, now: Tick, attempt: Attempt) {
        let (tier, replica) = (attempt.tier, attempt.replica);
        if let Err((attempt, refusal_of)) = self.servers[tier][replica].arrive(attempt, now) {
            let answer = match refusal_of {
                Refusal::Full if self.tiers[tier].full_silent => return,
                Refusal::Full => answer(StatusCode::SERVICE_UNAVAILABLE),
                Refusal::Quota(seconds) => {
                    self.log.throttled += 1;
                    answer(StatusCode::TOO_MANY_REQUESTS).map(|mut response| {
                        response.headers_mut().insert(RETRY_AFTER, seconds.into());
                        response
                    })
                }
            };
            self.servers[tier][replica].reject();
            self.reply(now, attempt, answer);
        }
        self.employ(now, tier, replica);
    }

    /// Gives free workers something to do.
    fn employ(&mut self, now: Tick, tier: usize, replica: usize) {
        while let Some(task) = self.servers[tier][replica].next() {
            let (takes, job) = match task {
                Task::Rejection => (REJECTION, None),
                Task::Job(attempt)
                    if attempt.reply.is_closed() && !self.tiers[tier].does_dead_work =>
                {
                    self.servers[tier][replica].done();
                    continue;
                }
                Task::Job(mut attempt) => {
                    let mean = SERVICE * self.tiers[tier].slowness_at(now);
                    let takes = (self.work.lognormal(mean, SPREAD).round() as Tick).max(1);
                    attempt.work = takes;
                    let mut status = StatusCode::OK;
                    for fault in self.tiers[tier].faults_at(now, replica) {
                        if let FaultKind::Errors(share) = fault
                            && self.work.hits(share)
                        {
                            status = StatusCode::INTERNAL_SERVER_ERROR;
                        }
                    }
                    (takes, Some((attempt, status)))
                }
            };
            self.log.work += takes;
            self.plan(now + takes, Event::Done(tier, replica, job));
        }
    }

    /// The work on a request is done.
    fn finish(&mut self, now: Tick, attempt: Attempt, status: StatusCode) {
        let to = attempt.tier + 1;
        if status.is_success() && to < self.tiers.len() {
            self.passed_on += 1;
            self.forwards.push(Forward { to, attempt });
            return;
        }
        let late = match self.tiers[attempt.tier].straggle {
            Some((share, by)) if self.network.hits(share) => by,
            _ => 0,
        } + self.tiers[attempt.tier].lag_at(now);
        self.reply(now + late, attempt, answer(status));
    }

    fn reply(&mut self, at: Tick, attempt: Attempt, answer: Answer) {
        if !attempt.answer_lost {
            self.plan(at + NETWORK, Event::Deliver(attempt, answer));
        }
    }

    fn deliver(&mut self, now: Tick, attempt: Attempt, answer: Answer) {
        let Attempt {
            reply,
            tier,
            replica,
            work,
            ..
        } = attempt;
        let cut = (self.tiers[tier].faults_at(now, replica)).any(|f| f == FaultKind::BlackHole);
        if cut {
            return;
        }
        let well = answer
            .as_ref()
            .is_ok_and(|answer| answer.status().is_success());
        if reply.send(answer).is_ok() && well {
            self.log.useful += work;
        }
    }
}

fn answer(status: StatusCode) -> Answer {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

fn refusal() -> io::Error {
    ErrorKind::ConnectionRefused.into()
}

impl Shared {
    /// Call it on the run's runtime: the world begins now.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self(Arc::new(Mutex::new(World::new(scenario))))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send(&self, tier: usize, call: Option<u32>) -> oneshot::Receiver<Answer> {
        self.lock().send(tier, call)
    }

    /// Moves the world for ever. `forward` gets the requests that a tier passes on to the next.
    pub(crate) async fn pump(&self, mut forward: impl FnMut(Forward)) {
        let mut timer = pin!(sleep(Duration::ZERO));
        poll_fn(|cx| self.poll_pump(cx, timer.as_mut(), &mut forward)).await
    }

    fn poll_pump(
        &self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        forward: &mut impl FnMut(Forward),
    ) -> Poll<()> {
        loop {
            let mut world = self.lock();
            world.run();
            world.pump = Some(cx.waker().clone());
            let next = world.events.next_at();
            world.armed = next.unwrap_or(Tick::MAX);
            let start = world.start;
            let forwards = std::mem::take(&mut world.forwards);
            drop(world);
            forwards.into_iter().for_each(&mut *forward);
            let Some(next) = next else {
                return Poll::Pending;
            };
            timer.as_mut().reset(start + Duration::from_millis(next));
            ready!(timer.as_mut().poll(cx));
        }
    }
}
