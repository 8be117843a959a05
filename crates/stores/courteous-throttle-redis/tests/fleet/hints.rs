//! A server's answer to one worker counts for all workers.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use courteous_test_servers::{
    BOUND, Fleet, Load, Redis, Sends, await_that, machine_clock, stand_still,
};

use courteous_testkit::{Probe, Reply};
use courteous_throttle::ThrottleLayer;
use http::Request;
use http_body_util::Empty;
use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt};

use crate::support::{bucket, quota};

const PAUSE: Duration = Duration::from_secs(4);
/// A lease and the horizon at 500 per second and burst 50. This long after Redis was told, no
/// worker uses an earlier slot any more.
const HEARD: Duration = Duration::from_millis(550);

/// Waits until Redis was told that the bucket is closed.
fn await_told(redis: &Redis) {
    let closed = || redis.command(&["HGET", "courteous:{fleet}", "closed"]);
    assert!(await_that(
        || closed().is_ok_and(|closed| !["", "0"].contains(&&*closed))
    ));
}

/// How many calls were certainly sent between `start` and `end`.
fn between(sends: &Sends, worker: usize, start: u64, end: u64) -> usize {
    let list = sends.all();
    let inside = list
        .iter()
        .filter(|sent| sent.worker == worker && sent.after >= start && sent.by <= end);
    inside.count()
}

const fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

#[test]
fn a_bucket_that_one_worker_closes_is_closed_for_it_at_once_and_for_all_soon() {
    let Some(redis) = Redis::start() else { return };
    let stores = [0; 4].map(|_| bucket(&redis.url(), quota()));
    let fleet = Fleet::start(4, Load::default(), |number| stores[number].clone());
    fleet.each_sends(20);
    let instants = Arc::new(OnceLock::new());
    let (closes, closed) = (stores[0].clone(), Arc::clone(&instants));
    fleet.run_on(0, move || {
        let before = machine_clock();
        closes.close_until(Instant::now() + PAUSE);
        let _ = closed.set((before, machine_clock()));
    });
    await_told(&redis);
    let told = machine_clock();
    stand_still(PAUSE);
    fleet.each_sends(20);
    let sends = fleet.stop();
    let (before, after) = *instants.get().unwrap();
    let opens = before + nanos(PAUSE);
    assert_eq!(between(&sends, 0, after, opens), 0);
    for worker in 1..4 {
        assert!(between(&sends, worker, 0, after) > 0);
        assert_eq!(between(&sends, worker, told + nanos(HEARD), opens), 0);
    }
    sends.assert_within(quota());
}

const CALLERS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_that_one_worker_is_sent_holds_up_the_others() {
    let Some(redis) = Redis::start() else { return };
    let mut calls = JoinSet::new();
    let probes = [Probe::new(), Probe::new()];
    for probe in &probes {
        let bucket = bucket(&redis.url(), quota());
        let service = ThrottleLayer::of(bucket).layer(probe.clone());
        for _ in 0..CALLERS {
            let service = service.clone();
            calls.spawn(async move {
                loop {
                    let request = Request::new(Empty::<&[u8]>::new());
                    service.clone().oneshot(request).await.unwrap();
                    yield_now().await;
                }
            });
        }
    }
    all(&probes, |probe| probe.calls() > 20).await;
    let before = Instant::now();
    let seconds = PAUSE.as_secs().to_string();
    probes[0].script([Reply::status(429).header("retry-after", &seconds)]);
    tokio::task::block_in_place(|| await_told(&redis));
    let told = Instant::now();
    sleep(PAUSE).await;
    all(&probes, |probe| {
        probe.instants().last() > Some(&(before + PAUSE))
    })
    .await;
    calls.shutdown().await;
    for probe in &probes {
        let held = |at: &Instant| (told + HEARD..before + PAUSE).contains(at);
        // A caller may stand still between its slot and its call. So each caller may send once.
        let sent = probe.instants().iter().filter(|at| held(at)).count();
        assert!(sent <= CALLERS, "{sent}");
    }
}

async fn all(probes: &[Probe], is_so: impl Fn(&Probe) -> bool) {
    let all = async {
        while !probes.iter().all(&is_so) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(BOUND, all).await.unwrap();
}
