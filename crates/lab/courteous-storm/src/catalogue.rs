use std::num::NonZeroUsize;

use crate::{
    Tick,
    quota::QuotaRule,
    scenario::{ATTEMPT_TIMEOUT, Count, FaultKind, Load, Scenario, TOTAL_TIMEOUT, Tier, WARM},
};

const SECOND: Tick = 1_000;
/// 30 s of trouble, from 40 s on.
const TROUBLE: std::ops::Range<Tick> = WARM..WARM + 30 * SECOND;

/// All scenarios of the suite, in order, with a hundred clients unless the scenario fixes their
/// number.
#[must_use]
pub fn catalogue() -> Vec<Scenario> {
    scenarios(600 * SECOND)
}

/// The same, with less time for what lasts long.
pub(crate) fn shorter() -> Vec<Scenario> {
    scenarios(120 * SECOND)
}

fn scenarios(lasting: Tick) -> Vec<Scenario> {
    let mut all = vec![spike(), brown_out()];
    all.extend(outages());
    all.extend(quotas());
    all.extend([errors("S5-10%", 0.1), errors("S5-30%", 0.3)]);
    all.push(zone());
    all.extend(herds());
    all.extend([
        stragglers("S8-10%", "2 % late by 0.5 s, 10 % load", 100.0),
        stragglers("S8-90%", "2 % late by 0.5 s, 90 % load", 900.0),
    ]);
    all.push(lossy());
    all.extend(depths());
    all.extend(restarts());
    all.extend([overload(lasting), birth()]);
    all.extend(steps());
    all.push(slowing());
    all.extend(slow_paths());
    all.extend([
        calm("S15-70%", "no trouble, 70 % load", 700.0),
        calm("S15-90%", "no trouble, 90 % load", 900.0),
    ]);
    all.extend([
        rude(
            "S16-10%",
            "spike: three times the calls for 10 s, 10 % naive clients",
            0.1,
        ),
        rude(
            "S16-20%",
            "spike: three times the calls for 10 s, 20 % naive clients",
            0.2,
        ),
    ]);
    all.extend([fan_out(), flood()]);
    all
}

impl Scenario {
    /// Nothing happens for 100 s, at this many calls a second; the server can do 1,000.
    #[must_use]
    pub fn calm(calls_per_second: f64) -> Self {
        calm("calm", "no trouble", calls_per_second)
    }
}

/// 700 calls a second until `end`.
fn open(id: &'static str, title: &'static str, end: Tick, tier: Tier) -> Scenario {
    Scenario {
        id,
        title,
        clients: 100,
        seed: 1,
        load: Load::Open {
            per_second: 700.0,
            surge: None,
            end,
        },
        tiers: vec![tier],
        trigger: None,
        restart: None,
        count: Count::Usual,
        timeouts: (ATTEMPT_TIMEOUT, TOTAL_TIMEOUT),
        naive: 0.0,
        hop_limit: None,
        budget_off: false,
    }
}

fn spike() -> Scenario {
    surge("S1", "spike: three times the calls for 10 s", 3.0)
}

/// So much more that a tenth of it is more than the server can do.
fn flood() -> Scenario {
    surge("S18", "flood: twenty times the calls for 10 s", 20.0)
}

fn surge(id: &'static str, title: &'static str, factor: f64) -> Scenario {
    let surge = WARM..WARM + 10 * SECOND;
    let mut spike = open(id, title, 180 * SECOND, Tier::new());
    spike.load = Load::Open {
        per_second: 700.0,
        surge: Some((surge.clone(), factor)),
        end: 180 * SECOND,
    };
    spike.trigger = Some(surge);
    spike
}

fn brown_out() -> Scenario {
    let mut tier = Tier::new();
    tier.capacity = vec![(TROUBLE.start, 0.2), (TROUBLE.end, 1.0)];
    let mut scenario = open(
        "S2",
        "brown-out: 20 % of the capacity for 30 s",
        180 * SECOND,
        tier,
    );
    scenario.trigger = Some(TROUBLE);
    scenario
}

fn outages() -> [Scenario; 3] {
    [
        outage(
            "S3-silent",
            "outage: a black hole for 30 s",
            FaultKind::BlackHole,
            Vec::new(),
        ),
        outage(
            "S3-refused",
            "outage: connections refused for 30 s",
            FaultKind::Refused,
            Vec::new(),
        ),
        outage(
            "S3-restart",
            "outage: refused, then back from 30 % in 20 s",
            FaultKind::Refused,
            ramp(),
        ),
    ]
}

fn outage(
    id: &'static str,
    title: &'static str,
    kind: FaultKind,
    capacity: Vec<(Tick, f64)>,
) -> Scenario {
    let mut tier = Tier::new().with_fault(TROUBLE, kind);
    tier.capacity = capacity;
    let mut scenario = open(id, title, 120 * SECOND, tier);
    scenario.trigger = Some(TROUBLE);
    scenario
}

/// After the trouble, from 15 workers to 50 in 20 s, one at a time.
fn ramp() -> Vec<(Tick, f64)> {
    let worker = |workers: Tick| {
        let at = TROUBLE.end + (workers - 15) * 20 * SECOND / 35;
        (at, workers as f64 / 50.0)
    };
    (15..=50).map(worker).collect()
}

/// 4,000 jobs in each. With a window, the whole crowd is let in at once. 10 jobs at a time are
/// as many as the server can answer before an attempt times out, so that only the quota is judged.
fn quotas() -> [Scenario; 4] {
    let bucket = QuotaRule::Bucket { per_second: 100 };
    let window = QuotaRule::Window {
        length: 10 * SECOND,
        requests: 1_000,
    };
    let batch = |id, title, clients, parallel, quota| {
        let mut tier = Tier::new();
        tier.quota = Some(quota);
        let mut scenario = open(id, title, 0, tier);
        scenario.clients = clients;
        scenario.load = Load::Batch {
            parallel,
            jobs: 4_000 / clients,
            cap: 300 * SECOND,
        };
        scenario
    };
    [
        batch(
            "S4-20x25",
            "quota of 100/s: 20 clients, 25 at a time",
            20,
            25,
            bucket,
        ),
        batch(
            "S4-1x200",
            "quota of 100/s: 1 client, 200 at a time",
            1,
            200,
            bucket,
        ),
        batch(
            "S4-200x5",
            "quota of 100/s: 200 clients, 5 at a time",
            200,
            5,
            bucket,
        ),
        batch(
            "S4-window",
            "quota of 1,000 in 10 s: 20 clients, 10 at a time",
            20,
            10,
            window,
        ),
    ]
}

fn errors(id: &'static str, share: f64) -> Scenario {
    let title = if share < 0.2 {
        "10 % errors"
    } else {
        "30 % errors"
    };
    let tier = Tier::new().with_fault(0..Tick::MAX, FaultKind::Errors(share));
    open(id, title, 100 * SECOND, tier)
}

fn zone() -> Scenario {
    let mut tier = Tier::new().with_fault(TROUBLE, FaultKind::BlackHole);
    for fault in &mut tier.faults {
        fault.replica = Some(0);
    }
    (tier.replicas, tier.workers) = (3, 17);
    let mut scenario = open(
        "S6",
        "zone: one of three endpoints silent for 30 s",
        120 * SECOND,
        tier,
    );
    scenario.load = Load::Open {
        per_second: 600.0,
        surge: None,
        end: 120 * SECOND,
    };
    scenario.trigger = Some(TROUBLE);
    scenario
}

fn herds() -> [Scenario; 2] {
    let herd = |id, title, full_silent| {
        let mut tier = Tier::new();
        tier.workers = 20;
        tier.room = Some(20);
        tier.full_silent = full_silent;
        tier.connect = 2;
        let mut scenario = open(id, title, 0, tier);
        scenario.clients = 1_000;
        scenario.load = Load::Batch {
            parallel: 1,
            jobs: 1,
            cap: 300 * SECOND,
        };
        scenario.budget_off = true;
        scenario
    };
    [
        herd("S7-herd", "herd: 1,000 calls at once, 503 when full", false),
        herd(
            "S7-reconnect",
            "reconnect wave: 1,000 at once, silence when full",
            true,
        ),
    ]
}

fn stragglers(id: &'static str, title: &'static str, per_second: f64) -> Scenario {
    let mut tier = Tier::new();
    (tier.replicas, tier.workers) = (10, 5);
    tier.straggle = Some((0.02, 500));
    let mut scenario = open(id, title, 100 * SECOND, tier);
    scenario.load = Load::Open {
        per_second,
        surge: None,
        end: 100 * SECOND,
    };
    scenario
}

fn lossy() -> Scenario {
    let bad = WARM..WARM + 10 * SECOND;
    let tier = Tier::new()
        .with_fault(0..Tick::MAX, FaultKind::Loss(0.02))
        .with_fault(bad.clone(), FaultKind::Loss(0.3));
    let mut scenario = open(
        "S9",
        "lossy: 2 % lost in silence, 30 % for 10 s",
        100 * SECOND,
        tier,
    );
    scenario.trigger = Some(bad);
    scenario
}

fn depths() -> [Scenario; 4] {
    let depth = |id, title, processes, limit| {
        let last = Tier::new().with_fault(TROUBLE, FaultKind::Errors(1.0));
        let mut scenario = open(id, title, 120 * SECOND, last);
        let mut hop = Tier::new();
        (hop.replicas, hop.workers) = (processes, 50 / processes);
        scenario.tiers.splice(0..0, [hop.clone(), hop]);
        scenario.trigger = Some(TROUBLE);
        scenario.hop_limit = NonZeroUsize::new(limit);
        scenario
    };
    [
        depth(
            "S10",
            "depth: client, A, B, C, ten processes of A and B; C fails for 30 s",
            10,
            0,
        ),
        // Each process then needs 73 calls of the next tier in flight, and its limit must leave
        // room for that.
        depth(
            "S10-narrow",
            "depth: the same, with one process of A and one of B",
            1,
            0,
        ),
        depth(
            "S10-narrow-64",
            "depth: narrow, and a fixed limit of 64 in A and B",
            1,
            64,
        ),
        depth(
            "S10-narrow-48",
            "depth: narrow, and a fixed limit of 48 in A and B",
            1,
            48,
        ),
    ]
}

/// A whole fleet restarts at once: each process is new, and its budget is at the start.
fn restarts() -> [Scenario; 4] {
    let restart = |at, mut scenario: Scenario| {
        scenario.restart = Some(at);
        scenario
    };
    let middle = TROUBLE.start + 15 * SECOND;
    let mut brown_out = brown_out();
    brown_out.id = "S11-brown-out";
    brown_out.title = "brown-out: 20 % of the capacity for 30 s, restart in the middle";
    [
        restart(
            middle,
            outage(
                "S11-silent",
                "outage: a black hole for 30 s, restart in the middle",
                FaultKind::BlackHole,
                Vec::new(),
            ),
        ),
        restart(
            middle,
            outage(
                "S11-refused",
                "outage: connections refused for 30 s, restart in the middle",
                FaultKind::Refused,
                Vec::new(),
            ),
        ),
        restart(
            TROUBLE.end - 2 * SECOND,
            outage(
                "S11-late",
                "outage: refused, then back from 30 % in 20 s, restart 2 s before that",
                FaultKind::Refused,
                ramp(),
            ),
        ),
        restart(middle, brown_out),
    ]
}

/// More calls than the server can serve: 1,300 a second. Of these 76.9 % can be served.
fn overload(lasting: Tick) -> Scenario {
    let trouble = WARM..WARM + lasting;
    let end = trouble.end + 40 * SECOND;
    let mut scenario = open(
        "S12-lasting",
        "overload: 130 % of the capacity for long",
        end,
        Tier::new(),
    );
    scenario.load = Load::Open {
        per_second: 700.0,
        surge: Some((trouble.clone(), 1_300.0 / 700.0)),
        end,
    };
    scenario.trigger = Some(trouble);
    scenario.count = Count::InTrouble;
    scenario
}

/// A fleet that has never seen the server without a queue.
fn birth() -> Scenario {
    let mut scenario = calm(
        "S12-birth",
        "overload: 130 % of the capacity from the first call on",
        1_300.0,
    );
    scenario.load = Load::Open {
        per_second: 1_300.0,
        surge: None,
        end: 120 * SECOND,
    };
    scenario.count = Count::All;
    scenario
}

/// The server has as much room as before, but what it asks is further away from now on.
fn steps() -> [Scenario; 4] {
    let step = |id, title, later, count| {
        let mut tier = Tier::new();
        tier.lag = vec![(WARM, later)];
        let mut scenario = open(id, title, 200 * SECOND, tier);
        scenario.trigger = Some(WARM..WARM);
        scenario.count = count;
        scenario
    };
    let settled = Count::Settled(30 * SECOND);
    let mut patient = step(
        "S13-x10-patient",
        "step: answers take ten times as long for good, attempt timeout 2 s",
        450,
        settled,
    );
    patient.timeouts = (2_000, 6_000);
    [
        step(
            "S13-x3",
            "step: answers take three times as long for good",
            100,
            Count::Usual,
        ),
        step(
            "S13-x6",
            "step: answers take six times as long for good",
            250,
            settled,
        ),
        // 6 % of the attempts then time out.
        step(
            "S13-x10",
            "step: answers take nearly as long as an attempt may, for good",
            400,
            settled,
        ),
        patient,
    ]
}

/// A server with much room becomes slower for a while, and still has room.
fn slowing() -> Scenario {
    let trouble = WARM..WARM + 20 * SECOND;
    let mut tier = Tier::new();
    tier.slowness = vec![(trouble.start, 3.3), (trouble.end, 1.0)];
    let mut scenario = open(
        "S14-slowing",
        "slowing: work takes 3.3 times as long for 20 s, 25 % load",
        100 * SECOND,
        tier,
    );
    scenario.load = Load::Open {
        per_second: 250.0,
        surge: None,
        end: 100 * SECOND,
    };
    scenario.trigger = Some(trouble);
    scenario
}

/// What a twentieth of the requests needs is far away.
fn slow_paths() -> [Scenario; 2] {
    let path = |id, title| {
        let mut tier = Tier::new();
        tier.straggle = Some((0.05, 950));
        open(id, title, 100 * SECOND, tier)
    };
    let mut patient = path(
        "S14-path",
        "slow path: 5 % of the answers take 20 times as long, attempt timeout 2 s",
    );
    patient.timeouts = (2_000, 6_000);
    [
        patient,
        path(
            "S14-path-cut",
            "slow path: 5 % of the answers take 20 times as long, and time out",
        ),
    ]
}

fn calm(id: &'static str, title: &'static str, per_second: f64) -> Scenario {
    let mut scenario = open(id, title, 100 * SECOND, Tier::new());
    scenario.load = Load::Open {
        per_second,
        surge: None,
        end: 100 * SECOND,
    };
    scenario
}

/// Some clients hold nothing back.
fn rude(id: &'static str, title: &'static str, naive: f64) -> Scenario {
    let mut scenario = spike();
    (scenario.id, scenario.title, scenario.naive) = (id, title, naive);
    scenario
}

/// One client that has 10,000 calls to make, and no reason to wait with any of them.
fn fan_out() -> Scenario {
    let mut tier = Tier::new();
    tier.workers = 10;
    let mut scenario = open(
        "S17",
        "fan-out: one client, 10,000 calls at once, against 200/s, deadline 30 s",
        0,
        tier,
    );
    scenario.clients = 1;
    scenario.load = Load::Burst {
        calls: 10_000,
        end: 40 * SECOND,
    };
    scenario.timeouts = (ATTEMPT_TIMEOUT, 30_000);
    scenario.count = Count::All;
    scenario
}
