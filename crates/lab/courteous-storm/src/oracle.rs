use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use crate::{
    Tick,
    arrivals::arrivals,
    chance::{Chance, Stream},
    log::Log,
    quota::Quota,
    scenario::{FaultKind, Load, NETWORK, SERVICE, SPREAD, Scenario, latest},
};

/// The best that a fleet could do: one dispatcher that knows everything that happens. It sends only
/// to workers that are idle and present, and within the quota, and drops calls that cannot make it.
/// It meets no error and no loss.
///
/// With several tiers, those before the last are a delay.
pub(crate) fn oracle(scenario: &Scenario) -> Log {
    let mut log = Log::default();
    let Some((tier, before)) = scenario.tiers.split_last() else {
        return log;
    };
    let delay = before.len() as Tick * (SERVICE as Tick + 2 * NETWORK);
    let (mut arrivals, end, timeout) = match scenario.load {
        Load::Open { end, .. } | Load::Burst { end, .. } => {
            let timeout = scenario.timeouts.1;
            (arrivals(scenario), end + timeout, timeout)
        }
        Load::Batch { jobs, cap, .. } => {
            // One job of each client, and then the next round: no client is served first.
            let all = (0..jobs).flat_map(|_| (0..scenario.clients).map(|client| (0, client)));
            (all.collect(), cap, Tick::MAX)
        }
    };
    arrivals.reverse();
    let mut chance = Chance::new(scenario.seed, Stream::Ideal);
    let mut quota = tier.quota.map(Quota::new);
    let mut waiting = VecDeque::new();
    // When the present workers will be idle.
    let mut busy = BinaryHeap::new();
    for now in 0..end {
        while busy.peek().is_some_and(|Reverse(until)| *until <= now) {
            busy.pop();
        }
        while let Some((_, client)) = arrivals.pop_if(|(at, _)| *at <= now) {
            let mean = SERVICE * tier.slowness_at(now);
            let takes = (chance.lognormal(mean, SPREAD).round() as Tick).max(1);
            waiting.push_back((log.start(client, now), takes + 2 * NETWORK + tier.connect));
        }
        let replica_up = |now, replica| {
            tier.faults_at(now, replica).all(|fault| match fault {
                FaultKind::BlackHole | FaultKind::Refused => false,
                FaultKind::Errors(share) => share < 1.0,
                FaultKind::Loss(_) => true,
            })
        };
        let staff = tier.staff(latest(&tier.capacity, now).unwrap_or(1.0));
        let lag = tier.lag_at(now);
        let staff = staff * (0..tier.replicas).filter(|r| replica_up(now, *r)).count();
        while let Some(&(call, takes)) = waiting.front() {
            let started = log.calls[call as usize].start;
            let done = now + takes + delay + lag;
            if done > started.saturating_add(timeout) {
                log.end(call, now, false);
                waiting.pop_front();
                continue;
            }
            let up_then = (0..tier.replicas).any(|replica| replica_up(done, replica));
            if busy.len() >= staff || !up_then {
                break;
            }
            if quota.as_mut().is_some_and(|quota| quota.take(now).is_err()) {
                break;
            }
            waiting.pop_front();
            busy.push(Reverse(now + takes - NETWORK));
            log.attempted(call, now);
            log.sent(now);
            log.work += takes;
            log.useful += takes;
            log.end(call, done, true);
        }
        if arrivals.is_empty() && waiting.is_empty() {
            break;
        }
    }
    log
}
