use crate::{
    Tick,
    quota::QuotaRule,
    scenario::{FaultKind, Load, Scenario, Tier, WARM},
};

const SECOND: Tick = 1_000;
/// 30 s of trouble, from 40 s on.
const TROUBLE: std::ops::Range<Tick> = WARM..WARM + 30 * SECOND;

/// All scenarios of the suite, in order, with a hundred clients unless the scenario fixes their
/// number.
#[must_use]
pub fn catalogue() -> Vec<Scenario> {
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
    all
}

impl Scenario {
    /// Nothing happens for 100 s, at this many calls a second; the server can do 1,000.
    #[must_use]
    pub fn calm(calls_per_second: f64) -> Self {
        let mut calm = open("calm", "no trouble", 100 * SECOND, Tier::new());
        calm.load = Load::Open {
            per_second: calls_per_second,
            surge: None,
            end: 100 * SECOND,
        };
        calm
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
        budget_off: false,
    }
}

fn spike() -> Scenario {
    let surge = WARM..WARM + 10 * SECOND;
    let mut spike = open(
        "S1",
        "spike: three times the calls for 10 s",
        180 * SECOND,
        Tier::new(),
    );
    spike.load = Load::Open {
        per_second: 700.0,
        surge: Some((surge.clone(), 3.0)),
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

fn depths() -> [Scenario; 2] {
    let depth = |id, title, processes| {
        let last = Tier::new().with_fault(TROUBLE, FaultKind::Errors(1.0));
        let mut scenario = open(id, title, 120 * SECOND, last);
        let mut hop = Tier::new();
        (hop.replicas, hop.workers) = (processes, 50 / processes);
        scenario.tiers.splice(0..0, [hop.clone(), hop]);
        scenario.trigger = Some(TROUBLE);
        scenario
    };
    [
        depth(
            "S10",
            "depth: client, A, B, C, ten processes of A and B; C fails for 30 s",
            10,
        ),
        // Each process then needs 73 calls of the next tier in flight, and its limit must leave
        // room for that.
        depth(
            "S10-narrow",
            "depth: the same, with one process of A and one of B",
            1,
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
