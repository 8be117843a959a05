//! The doubles do what they say.

use std::time::Duration;

use bytes::Bytes;
use courteous_testkit::{Chance, Probe, Reply, Storm, Task, TestBody};
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_storm_drops_in_each_way_and_leaves_the_probe_empty() {
    let probe = Probe::new().otherwise(|_| {
        let body = TestBody::new().chunk("one").chunk("two").chunk("three");
        Reply::ok().body(body).after(Duration::from_millis(500))
    });
    let request = |_| Request::new(Full::<Bytes>::default());
    let calm = Storm::new(1000, 7).run(&probe, request).await;
    let sum = calm.finished + calm.failed + calm.dropped + calm.dropped_bodies;
    assert_eq!((sum, calm.failed), (1000, 0));
    assert!(calm.finished > 300 && calm.dropped > 100 && calm.dropped_bodies > 100);
    assert!(probe.dropped() > 0 && probe.dropped() <= calm.dropped);
    assert_eq!((probe.in_flight(), probe.ready_held()), (0, 0));
    assert_eq!(probe.bodies().alive(), 0);

    let again = Probe::new().otherwise(|_| {
        let body = TestBody::new().chunk("one").chunk("two").chunk("three");
        Reply::ok().body(body).after(Duration::from_millis(500))
    });
    assert_eq!(Storm::new(1000, 7).run(&again, request).await, calm);
}

#[test]
fn dice_fall_anywhere_below_the_end() {
    let mut chance = Chance::new(1);
    let mut seen = [0; 6];
    for _ in 0..6000 {
        seen[usize::try_from(chance.below(6)).unwrap()] += 1;
    }
    assert!(
        seen.iter().all(|times| (800..1200).contains(times)),
        "{seen:?}"
    );
    assert_eq!(chance.below(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_polled_when_it_was_woken_and_not_before() {
    let start = Instant::now();
    let mut task = Task::new(sleep(Duration::from_millis(5)));
    assert!(task.settle().await.is_pending());
    assert_eq!((task.polls(), start.elapsed()), (1, Duration::ZERO));
    task.woken().await;
    assert_eq!(start.elapsed(), Duration::from_millis(5));
    assert!(task.poll().is_ready());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "never woken")]
async fn a_task_that_is_never_woken_panics() {
    Task::new(std::future::pending::<()>()).finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_test_body_does_as_told() {
    let pause = Duration::from_secs(1);
    let mut body = TestBody::new().chunk("a").pause(pause).fail("broken");
    let start = Instant::now();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "a"
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(start.elapsed(), pause);
    assert!(body.frame().await.is_none());
}
