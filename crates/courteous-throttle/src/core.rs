use std::{task::Waker, time::Duration};

use courteous_core::{Dice, RejectReason, Rejected};
use courteous_queue::{Next, Queue, Serve, Ticket, Wakes};
use rand::RngExt;
use tokio::time::Instant;

use crate::{
    Ask, Rate,
    levels::{Levels, later},
    waiter::{State, Waiter},
};

/// What a look at every waiter is taken to cost; it is not taken more often than that allows.
const LOOK: Duration = Duration::from_micros(1);

/// A bucket that is told the time.
#[derive(Debug)]
pub(crate) struct Core {
    levels: Levels,
    /// The greatest instant that a waiter was given at a closed bucket.
    released: Option<Instant>,
    /// The spread of the instants that are given out at a closed bucket.
    pub(crate) jitter: Duration,
    /// Where the draws come from.
    pub(crate) dice: Dice,
    queue: Queue<Waiter>,
    /// The costs of all in the queue's line.
    queued: u64,
    /// When to look whether waits have become too long, as some were put back; and when that was done last.
    look_at: Option<Instant>,
    looked: Option<Instant>,
}

/// What a waiter finds.
pub(crate) enum Find {
    Granted,
    Waiting,
    Refused(Rejected),
}

/// What one who asks finds.
pub(crate) enum Answer {
    Taken,
    Queued(Ticket),
    Refused(Rejected),
}

impl Core {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            levels: Levels::new(rate, now),
            released: None,
            jitter: Duration::from_secs(1),
            dice: Dice::new(),
            queue: Queue::new(),
            queued: 0,
            look_at: None,
            looked: None,
        }
    }

    /// A bucket with the same rates and jitter: full, or empty if this one has `start_empty`.
    pub(crate) fn fresh(&self, start_empty: bool, now: Instant) -> Self {
        let mut core = Self::new(self.levels.first(), now);
        core.levels = self.levels.fresh(now);
        core.jitter = self.jitter;
        core.dice = self.dice.clone();
        if start_empty {
            core.empty();
        }
        core
    }

    /// Takes tokens, or a place in the line.
    pub(crate) fn take(&mut self, ask: &Ask, now: Instant) -> Answer {
        let Ask { cost, latest, .. } = *ask;
        self.levels.fill(now);
        if self.levels.closed_until.is_none()
            && self.queue.is_empty()
            && self.levels.can_plan(cost, now)
        {
            self.levels.plan(cost, now);
            self.levels.send(cost);
            return Answer::Taken;
        }
        if cost > self.levels.burst() {
            return Answer::Refused(Rejected::new(RejectReason::CostAboveBurst));
        }
        let release = self
            .levels
            .closed_until
            .map(|opens| later(opens, self.draw()));
        if let Some(release) = release
            && ask.retried
        {
            let rejected = Rejected::new(RejectReason::Closed);
            return Answer::Refused(rejected.with_wait(now, release.duration_since(now)));
        }
        let line = if self.queue.is_empty() {
            None
        } else {
            self.released
        };
        let at = self
            .levels
            .turn(now, self.queued, cost)
            .max(release.unwrap_or(now))
            .max(line.unwrap_or(now));
        let refused = if ask.fail_fast {
            Some(match release {
                Some(_) => RejectReason::Closed,
                None => RejectReason::AtCapacity,
            })
        } else if self.queue.len() >= ask.max_waiting {
            Some(RejectReason::QueueFull)
        } else {
            latest
                .filter(|latest| at > latest.at)
                .map(|latest| latest.reason)
        };
        if let Some(reason) = refused {
            let rejected = Rejected::new(reason).with_wait(now, at.duration_since(now));
            return Answer::Refused(rejected);
        }
        self.released = line.max(release);
        self.queued += u64::from(cost);
        Answer::Queued(self.queue.push_back(Waiter {
            waker: None,
            state: State::Waiting,
            cost,
            retried: ask.retried,
            latest,
            release,
        }))
    }

    /// Looks after a waiter, who is polled; `waker` is kept if it has to wait.
    pub(crate) fn find(
        &mut self,
        ticket: &Ticket,
        waker: &Waker,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Find {
        if self.queue.get(ticket).state == State::Away {
            self.rejoin(ticket, now);
        }
        self.serve(now, wakes);
        let waiter = self.queue.get_mut(ticket);
        match waiter.state {
            State::Granted => Find::Granted,
            State::Refused(reason, at) => {
                let rejected = Rejected::new(reason);
                Find::Refused(match reason {
                    RejectReason::CostAboveBurst => rejected,
                    _ => rejected.with_wait(now, at.saturating_duration_since(now)),
                })
            }
            State::Waiting | State::Away => {
                match &mut waiter.waker {
                    Some(kept) => kept.clone_from(waker),
                    None => waiter.waker = Some(waker.clone()),
                }
                Find::Waiting
            }
        }
    }

    /// Sends, in the name of a waiter who was granted its turn. `false` if that was too long ago: it waits again then.
    pub(crate) fn spend(&mut self, ticket: &Ticket, now: Instant) -> bool {
        self.levels.fill(now);
        let waiter = self.queue.get(ticket);
        let (cost, granted) = (waiter.cost, waiter.state == State::Granted);
        let sent = granted && self.levels.closed_until.is_none() && self.levels.can_send(cost);
        if sent {
            self.levels.send(cost);
        } else if granted {
            self.rejoin(ticket, now);
        }
        sent
    }

    /// Takes a grant back, until the waiter is polled again.
    pub(crate) fn pass(&mut self, ticket: &Ticket) {
        let waiter = self.queue.get_mut(ticket);
        if waiter.state == State::Granted {
            waiter.state = State::Away;
            let cost = waiter.cost;
            self.levels.unplan(cost);
        }
    }

    /// Lets a waiter go. What it was granted is given back, unless it was `sent`.
    pub(crate) fn leave(&mut self, ticket: Ticket, sent: bool) {
        let waiter = self.queue.remove(ticket);
        match waiter.state {
            State::Waiting => self.queued -= u64::from(waiter.cost),
            State::Granted if !sent => self.levels.unplan(waiter.cost),
            State::Granted | State::Away | State::Refused(..) => {}
        }
    }

    /// Closes the bucket. It opens with at most one token, so that those who waited do not leave in a burst.
    pub(crate) fn close_until(&mut self, opens: Instant, now: Instant, wakes: &mut Wakes) {
        self.levels.fill(now);
        if opens <= now || self.levels.closed_until.is_some_and(|until| opens <= until) {
            return;
        }
        self.levels.close_until(opens);
        // A draw for each, in the order of the line.
        let mut draws: Vec<_> = (0..self.queue.len()).map(|_| self.draw()).collect();
        draws.sort_unstable();
        let mut draws = draws.into_iter();
        self.queue.retain(|waiter| {
            let release = later(opens, draws.next().unwrap_or_default());
            waiter.release = Some(release);
            if waiter.retried {
                self.queued -= u64::from(waiter.cost);
                waiter.refuse(RejectReason::Closed, release, wakes);
            }
            !waiter.retried
        });
        self.released = Some(later(opens, self.jitter));
        self.look(now, wakes);
    }

    /// Slows down, so that the server's quota lasts.
    pub(crate) fn pace(
        &mut self,
        remaining: u64,
        reset: Duration,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        self.levels.fill(now);
        self.levels.pace(remaining, reset, now);
        self.look(now, wakes);
    }

    /// Goes on at other rates, with the tokens that there are.
    pub(crate) fn set_rates(&mut self, rates: &[Rate], now: Instant, wakes: &mut Wakes) {
        self.levels.fill(now);
        self.levels.set_rates(rates);
        self.look(now, wakes);
    }

    /// Adds a rate, of which no token was spent.
    pub(crate) fn add_rate(&mut self, rate: Rate, now: Instant, wakes: &mut Wakes) {
        self.levels.fill(now);
        self.levels.add(rate);
        self.look(now, wakes);
    }

    /// Takes all tokens out.
    pub(crate) fn empty(&mut self) {
        self.levels.empty();
    }

    pub(crate) fn rates(&self) -> impl Iterator<Item = Rate> {
        self.levels.rates()
    }

    pub(crate) fn available(&mut self, now: Instant) -> u32 {
        self.levels.fill(now);
        self.levels.available()
    }

    pub(crate) const fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn closed_until(&mut self, now: Instant) -> Option<Instant> {
        self.levels.fill(now);
        self.levels.closed_until
    }

    /// Whether a new bucket would do the same.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.levels.fill(now);
        self.queue.tickets() == 0 && self.levels.is_idle()
    }

    /// One draw of jitter.
    pub(crate) fn draw(&self) -> Duration {
        self.jitter.mul_f64(self.dice.roll(|rng| rng.random()))
    }

    /// Puts a waiter back to where its age says, or refuses it if that has become too late.
    fn rejoin(&mut self, ticket: &Ticket, now: Instant) {
        let release = self
            .levels
            .closed_until
            .map(|opens| later(opens, self.draw()));
        let at = release.unwrap_or(now);
        let waiter = self.queue.get_mut(ticket);
        waiter.release = release.or(waiter.release);
        if release.is_some() && waiter.retried {
            waiter.state = State::Refused(RejectReason::Closed, at);
            return;
        }
        waiter.state = State::Waiting;
        self.queued += u64::from(waiter.cost);
        self.queue.requeue(ticket);
        // All behind it wait longer now.
        let pause = LOOK.saturating_mul(u32::try_from(self.queue.len()).unwrap_or(u32::MAX));
        let next = self.looked.map_or(now, |looked| later(looked, pause));
        self.look_at.get_or_insert(next.max(now));
    }

    /// Refuses all whose wait has become too long.
    fn look(&mut self, now: Instant, wakes: &mut Wakes) {
        self.look_at = None;
        self.looked = Some(now);
        let burst = self.levels.burst();
        let mut ahead = 0;
        let mut queue = std::mem::take(&mut self.queue);
        queue.retain(|waiter| {
            let at = self
                .levels
                .turn(now, ahead, waiter.cost)
                .max(waiter.release.unwrap_or(now));
            let reason = match waiter.latest {
                _ if waiter.cost > burst => RejectReason::CostAboveBurst,
                Some(latest) if at > latest.at => latest.reason,
                _ => {
                    ahead += u64::from(waiter.cost);
                    return true;
                }
            };
            waiter.refuse(reason, at, wakes);
            false
        });
        self.queue = queue;
        self.queued = ahead;
    }
}

impl Serve for Core {
    fn serve(&mut self, now: Instant, wakes: &mut Wakes) -> Next {
        self.levels.fill(now);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look(now, wakes);
        }
        while let Some(front) = self.queue.front() {
            let (cost, release) = (front.cost, front.release);
            let held = self.levels.closed_until.max(release).filter(|&at| at > now);
            if held.is_some() || !self.levels.can_plan(cost, now) {
                let at = self.levels.turn(now, 0, cost).max(held.unwrap_or(now));
                return Next::At(self.look_at.map_or(at, |look| at.min(look)));
            }
            self.levels.plan(cost, now);
            self.queued -= u64::from(cost);
            if let Some(front) = self.queue.take_front() {
                front.state = State::Granted;
                wakes.extend(front.waker.take());
            }
        }
        self.look_at = None;
        self.released = None;
        Next::Nothing
    }

    fn rouse(&mut self, wakes: &mut Wakes) {
        wakes.extend(
            self.queue
                .values_mut()
                .filter_map(|waiter| waiter.waker.take()),
        );
    }
}
