use courteous_core::{RejectReason, Rejected};
use tokio::time::Instant;

use super::{Admission, Pace, QuotaState, ToldQuota, recent::Recent};
use crate::{
    Ask,
    spread::Spread,
    target::{QuotaName, Target},
};

/// Of how many targets it is known what they count against, and of how many quotas what was said.
const MOST: u32 = 1_000;

/// Against how many named quotas a target counts.
const EACH: usize = 4;

/// What is known of quotas, once anything is.
#[derive(Debug)]
pub(super) struct KnownQuotas {
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

impl KnownQuotas {
    pub(super) fn new() -> Self {
        Self {
            targets: Recent::new(MOST),
            quotas: Recent::new(MOST),
            unknown_until: None,
            busy_until: None,
            waiting: 0,
        }
    }

    pub(super) fn hear(&mut self, target: Target, told: &[ToldQuota], now: Instant) {
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
            match told.state {
                QuotaState::Named => {}
                QuotaState::Left { remaining, reset } => {
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
                QuotaState::UsedUp { opens } | QuotaState::Refused { opens } => {
                    state.closed_until = state.closed_until.max(Some(opens));
                    until = Some(opens);
                }
            }
            state
        });
        self.busy_until = self.busy_until.max(until);
        if let QuotaState::Refused { opens } = told.state {
            self.unknown_until = self.unknown_until.max(Some(opens));
        }
    }

    pub(super) fn settle(&mut self, now: Instant) {
        self.busy_until = self.busy_until.filter(|&until| until > now);
    }

    pub(super) const fn is_quiet(&self) -> bool {
        self.busy_until.is_none()
    }

    pub(super) fn closed_until(&self, target: Option<Target>, now: Instant) -> Option<Instant> {
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

    pub(super) fn used_up_until(&self, now: Instant) -> Option<Instant> {
        if self.is_quiet() {
            return None;
        }
        let closed = self.quotas.values().filter_map(|state| state.closed_until);
        let until = closed.chain(self.unknown_until).max();
        until.filter(|&until| until > now)
    }

    pub(super) fn admit(
        &mut self,
        ask: &Ask,
        waiting: usize,
        spread: &Spread,
        now: Instant,
    ) -> Admission {
        self.settle(now);
        let (target, cost) = (ask.target(), ask.cost());
        let waiting = waiting + self.waiting;
        if let Some(closed) = self.admit_closed(ask, waiting, spread, now) {
            return closed;
        }
        let Some(turn) = self.turn(target, now) else {
            return Admission::Free { paced: false };
        };
        if turn > now
            && let Some(reason) = ask.rejection(waiting, turn, RejectReason::AtCapacity)
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

    pub(super) fn readmit(&mut self, ask: &Ask, spread: &Spread, now: Instant) -> Admission {
        self.settle(now);
        let ask = ask.with_max_waiting(usize::MAX);
        self.admit_closed(&ask, 0, spread, now)
            .unwrap_or(Admission::Free { paced: false })
    }

    fn admit_closed(
        &mut self,
        ask: &Ask,
        waiting: usize,
        spread: &Spread,
        now: Instant,
    ) -> Option<Admission> {
        let opens = self.closed_until(ask.target(), now)?;
        let until = spread.after(opens);
        let reason = match ask.is_retried() {
            true => Some(RejectReason::Paused),
            false => ask.rejection(waiting, until, RejectReason::Paused),
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

    /// When a request for `target` would be sent at the pace of the quotas that it counts against.
    /// `None` if nothing paces it.
    pub(super) fn turn(&mut self, target: Option<Target>, now: Instant) -> Option<Instant> {
        let mut turn = None;
        self.each_pace(target, |pace| {
            if !pace.is_over(now) {
                turn = turn.max(Some(pace.next()));
            }
        });
        turn
    }

    /// Counts a request for `target`, which is sent at its turn.
    pub(super) fn spend(&mut self, target: Option<Target>, cost: u32, now: Instant) {
        self.each_pace(target, |pace| pace.spend(cost, now));
    }

    pub(super) fn unspend(&mut self, target: Option<Target>, cost: u32) {
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

    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) const fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

fn rejected(reason: RejectReason, at: Instant, now: Instant) -> Admission {
    Admission::Rejected(Rejected::new(reason).with_wait(now, at.duration_since(now)))
}
