//! Counts the allocations of a token with a lease in hand. This is the only test in its file, as
//! allocations are counted for the whole process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{alloc::System, future::poll_fn, num::NonZeroU32, pin::pin, time::Duration};

use courteous_test_servers::Redis;
use courteous_throttle_redis::{Ask, Rate, RedisBucket, Take, TokenStore, Turn};
use futures_util::future::join_all;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

async fn send(bucket: &RedisBucket) {
    let Take::Wait(turn) = bucket.take(&Ask::new(NonZeroU32::MIN)) else {
        return;
    };
    let mut turn = pin!(turn);
    loop {
        poll_fn(|cx| turn.as_mut().poll(cx)).await.unwrap();
        if turn.as_mut().spend() {
            return;
        }
    }
}

#[tokio::test]
async fn a_token_with_a_lease_in_hand_costs_no_allocation() {
    let Some(server) = Redis::start() else { return };
    let redis = courteous_throttle_redis::Redis::open(&server.url()).unwrap();
    let burst = NonZeroU32::new(200).unwrap();
    // A lease is 250 ms.
    let rate = Rate::per_second(400.0).unwrap().with_burst(burst);
    let bucket = RedisBucket::new(&redis, "counted", rate);
    let ask = Ask::new(NonZeroU32::MIN);
    // On a busy machine, slots may expire between any two lines. So this is repeated until ten
    // tokens could be taken one after another.
    for _ in 0..200 {
        // A crowd reserves slots for as many calls again.
        tokio::time::sleep(Duration::from_millis(20)).await;
        join_all((0..20).map(|_| send(&bucket))).await;
        // Slots are 2.5 ms apart. This waits until all are open, and none has expired.
        let enough = bucket.gauges().leased() >= 20;
        tokio::time::sleep(Duration::from_millis(60)).await;
        if !enough {
            continue;
        }
        // The first call may find that the next lease is due, and wake the task.
        let mut taken = usize::from(matches!(bucket.take(&ask), Take::Taken));
        let region = Region::new(ALLOCATOR);
        for _ in 0..9 {
            taken += usize::from(matches!(bucket.take(&ask), Take::Taken));
        }
        let allocations = region.change().allocations;
        if taken == 10 {
            assert_eq!(allocations, 0);
            return;
        }
    }
    panic!("never ten slots in hand");
}
