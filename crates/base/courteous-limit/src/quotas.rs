mod pace;
mod recent;
mod target;

use std::time::Duration;

use tokio::time::Instant;

use courteous_core::{RejectReason, Rejected};

use crate::Ask;

use self::recent::Recent;
pub use self::{
    pace::Pace,
    target::{QuotaName, Target},
};

/// Of how many targets it is known what they count against, and of how many quotas what was said.
const MOST: u32 = 1_000;

/// Against how many named quotas a target counts.
const EACH: usize = 4;

/// What a server has said of the quotas that it names, and which requests count against which.
///
/// A store of tokens has one of these beside each bucket. It is told the time.
///
/// ```text
/// GET /search/issues --(the last answer named)--> "search": used up until 10:01
/// GET /repos/a       --(the last answer named)--> "core":   4,999 left until 11:00
/// GET /repos/b       --(no answer yet)          > unknown:  held up by no quota that a good answer told of
/// ```
///
/// A request is held up only by a quota that its method and path are known to count against, from the last answer to
/// them. What is unknown goes out: else one resource's quota would hold up another's. But a *refusal* holds up what is
/// unknown, too: the server has shown that it is serious, and only a request that is known to count elsewhere is none of
/// its business.
///
/// At most 1,000 targets are known and 1,000 quotas, and of each target up to four quotas. The least recent makes room.
#[derive(Debug)]
pub struct Quotas {
    /// What each target counts against.
    targets: Recent<[Option<QuotaName>; EACH]>,
    quotas: Recent<State>,
    /// Until when unknown targets are held up.
    unknown_until: Option<Instant>,
    /// In the future, as of the last look at the clock: until when anything is held up at all.
    busy_until: Option<Instant>,
    /// How many calls wait because of a quota.
    waiting: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    closed_until: Option<Instant>,
    pace: Option<Pace>,
}

/// What a call finds at the quotas that it counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a store must know what to do with each"
)]
pub enum Admission {
    /// Nothing holds it up. `paced` says whether it was counted by a quota that is spread over its time: then it must be
    /// [taken back](Quotas::unspend) if the call is not sent.
    Free {
        /// Whether it was counted.
        paced: bool,
    },
    /// It has to wait. It [counts as waiting](Quotas::waiting) until it [asks again](Quotas::readmit) or
    /// [leaves](Quotas::leave).
    Held {
        /// When it asks again.
        until: Instant,
        /// Whether it was counted.
        paced: bool,
    },
    /// It must not wait.
    Rejected(Rejected),
}

/// What a response said of one quota that it names.
#[derive(Clone, Copy, Debug)]
pub struct ToldQuota {
    name: QuotaName,
    news: News,
}

#[derive(Clone, Copy, Debug)]
enum News {
    Named,
    Left { remaining: u64, reset: Duration },
    UsedUp { opens: Instant },
    Refused { opens: Instant },
}

impl ToldQuota {
    /// The request counts against it, and that is all there is to know.
    #[must_use]
    pub const fn named(name: QuotaName) -> Self {
        Self {
            name,
            news: News::Named,
        }
    }

    /// `remaining` more requests within `reset` are to be spread over that time.
    #[must_use]
    pub const fn left(name: QuotaName, remaining: u64, reset: Duration) -> Self {
        let news = News::Left { remaining, reset };
        Self { name, news }
    }

    /// It is used up, and opens at `opens`. The response was no refusal.
    #[must_use]
    pub const fn used_up(name: QuotaName, opens: Instant) -> Self {
        let news = News::UsedUp { opens };
        Self { name, news }
    }

    /// It is used up, the request was refused for it, and it opens at `opens`.
    #[must_use]
    pub const fn refused(name: QuotaName, opens: Instant) -> Self {
        let news = News::Refused { opens };
        Self { name, news }
    }

    const fn is_used_up(&self) -> bool {
        matches!(self.news, News::UsedUp { .. } | News::Refused { .. })
    }
}

impl Quotas {
    /// Nothing is known, and nothing allocated.
    #[must_use]
    pub fn new() -> Self {
        Self {
            targets: Recent::new(MOST),
            quotas: Recent::new(MOST),
            unknown_until: None,
            busy_until: None,
            waiting: 0,
        }
    }

    /// Takes note of what a response to a request for `target` said. Nothing changes if that is nothing.
    ///
    /// Of more than four quotas, those that are used up count first.
    pub fn hear(&mut self, target: Target, told: &[ToldQuota], now: Instant) {
        if told.is_empty() {
            return;
        }
        let (used_up, others) = (
            told.iter().filter(|told| told.is_used_up()),
            told.iter().filter(|told| !told.is_used_up()),
        );
        let mut names = [None; EACH];
        for (name, told) in names.iter_mut().zip(used_up.chain(others)) {
            *name = Some(told.name);
            self.note(told, now);
        }
        self.targets.set(target.request.get(), |_| names);
    }

    fn note(&mut self, told: &ToldQuota, now: Instant) {
        let mut until = None;
        let are_waiting = self.waiting > 0;
        self.quotas.set(told.name.0.get(), |known| {
            let mut state = known.copied().unwrap_or_default();
            match told.news {
                News::Named => {}
                News::Left { remaining, reset } => {
                    let known = state.pace;
                    let pace = Pace::new(remaining, reset, now);
                    let pace = pace.and_then(|pace| pace.after(known, now));
                    // A call that comes now must not overtake those that wait for their turns.
                    state.pace = match are_waiting {
                        true => pace.map(|pace| pace.behind(known, now)),
                        false => pace,
                    };
                    until = state.pace.map(|pace| pace.reset());
                }
                News::UsedUp { opens } | News::Refused { opens } => {
                    state.closed_until = state.closed_until.max(Some(opens));
                    until = Some(opens);
                }
            }
            state
        });
        self.busy_until = self.busy_until.max(until);
        if let News::Refused { opens } = told.news {
            self.unknown_until = self.unknown_until.max(Some(opens));
        }
    }

    /// Lets the time pass.
    pub fn settle(&mut self, now: Instant) {
        self.busy_until = self.busy_until.filter(|&until| until > now);
    }

    /// Whether nothing was held up when the time last [passed](Self::settle).
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.busy_until.is_none()
    }

    /// Until when a request for `target` must not be sent, as a quota is used up. One without a target is unknown.
    #[must_use]
    pub fn closed_until(&self, target: Option<Target>, now: Instant) -> Option<Instant> {
        if self.is_quiet() {
            return None;
        }
        let names = target.and_then(|target| self.targets.peek(target.request.get()));
        let until = match names {
            Some(names) => {
                let names = names.iter().flatten();
                let states = names.filter_map(|name| self.quotas.peek(name.0.get()));
                states.filter_map(|state| state.closed_until).max()
            }
            None => self.unknown_until,
        };
        until.filter(|&until| until > now)
    }

    /// When the last of the used-up quotas opens. Looks at each quota, unless all is [quiet](Self::is_quiet).
    #[must_use]
    pub fn used_up_until(&self, now: Instant) -> Option<Instant> {
        if self.is_quiet() {
            return None;
        }
        let closed = self.quotas.values().filter_map(|state| state.closed_until);
        let until = closed.chain(self.unknown_until).max();
        until.filter(|&until| until > now)
    }

    /// Lets a call in that comes to the store, where `waiting` others are in the queue. `jitter` draws what a call adds to
    /// the opening of a used-up quota.
    ///
    /// At a used-up quota, a call with a retry outside is rejected, as at a closed bucket. Others wait, if their time and
    /// the queue allow it.
    pub fn admit(
        &mut self,
        ask: &Ask,
        waiting: usize,
        jitter: impl FnOnce() -> Duration,
        now: Instant,
    ) -> Admission {
        self.settle(now);
        let (target, cost) = (ask.target(), ask.cost());
        let waiting = waiting + self.waiting;
        if let Some(closed) = self.admit_closed(ask, waiting, jitter, now) {
            return closed;
        }
        let Some(turn) = self.turn(target, now) else {
            return Admission::Free { paced: false };
        };
        if turn > now
            && let Some(reason) = rejection(ask, turn, waiting, RejectReason::AtCapacity)
        {
            return rejected(reason, turn, now);
        }
        self.spend(target, cost, now);
        if turn <= now {
            return Admission::Free { paced: true };
        }
        self.waiting += 1;
        Admission::Held {
            until: turn,
            paced: true,
        }
    }

    /// As [`admit`](Self::admit), for a call that was let in before: one that [left](Self::leave) its wait, or whose turn has
    /// come in the queue. Only used-up quotas hold it up now, and no queue is too long for it.
    pub fn readmit(
        &mut self,
        ask: &Ask,
        jitter: impl FnOnce() -> Duration,
        now: Instant,
    ) -> Admission {
        self.settle(now);
        let ask = ask.with_max_waiting(usize::MAX);
        self.admit_closed(&ask, 0, jitter, now)
            .unwrap_or(Admission::Free { paced: false })
    }

    fn admit_closed(
        &mut self,
        ask: &Ask,
        waiting: usize,
        jitter: impl FnOnce() -> Duration,
        now: Instant,
    ) -> Option<Admission> {
        let opens = self.closed_until(ask.target(), now)?;
        let until = pace::later(opens, jitter());
        let reason = match ask.is_retried() {
            true => Some(RejectReason::Paused),
            false => rejection(ask, until, waiting, RejectReason::Paused),
        };
        if let Some(reason) = reason {
            return Some(rejected(reason, until, now));
        }
        self.waiting += 1;
        Some(Admission::Held {
            until,
            paced: false,
        })
    }

    /// When a request for `target` would be sent at the pace of the quotas that it counts against; `None` if nothing paces
    /// it.
    #[must_use]
    fn turn(&mut self, target: Option<Target>, now: Instant) -> Option<Instant> {
        let mut turn = None;
        self.each_pace(target, |pace| {
            if !pace.is_over(now) {
                turn = turn.max(Some(pace.next()));
            }
        });
        turn
    }

    /// Counts a request for `target`, which is sent at its turn.
    fn spend(&mut self, target: Option<Target>, cost: u32, now: Instant) {
        self.each_pace(target, |pace| pace.spend(cost, now));
    }

    /// Takes back that a call was counted, as it is not sent.
    pub fn unspend(&mut self, target: Option<Target>, cost: u32) {
        self.each_pace(target, |pace| pace.unspend(cost));
    }

    fn each_pace(&mut self, target: Option<Target>, mut visit: impl FnMut(&mut Pace)) {
        if self.is_quiet() {
            return;
        }
        let names = target.and_then(|target| self.targets.peek(target.request.get()));
        for name in names.into_iter().flatten().flatten() {
            let state = self.quotas.peek_mut(name.0.get());
            if let Some(pace) = state.and_then(|state| state.pace.as_mut()) {
                visit(pace);
            }
        }
    }

    /// How many calls wait because of a quota.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// A call that was [held](Admission::Held) waits no longer.
    pub const fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a call cannot wait until `at`; `none` if it must not wait at all.
fn rejection(ask: &Ask, at: Instant, waiting: usize, none: RejectReason) -> Option<RejectReason> {
    match ask.max_waiting() {
        0 => Some(none),
        max if waiting >= max => Some(RejectReason::QueueFull),
        _ => ask
            .latest()
            .filter(|&(latest, _)| at > latest)
            .map(|(_, reason)| reason),
    }
}

fn rejected(reason: RejectReason, at: Instant, now: Instant) -> Admission {
    Admission::Rejected(Rejected::new(reason).with_wait(now, at.duration_since(now)))
}

#[cfg(test)]
mod tests;
