//! How a schedule is shared, and what it costs.

use super::*;

#[test]
fn a_cold_start_costs_a_lease_and_a_horizon() {
    paused(async {
        let start = Instant::now();
        warm(&redis(), 2_000, 200).await;
        let cost = start.elapsed();
        assert!((ms(550)..ms(560)).contains(&cost), "{cost:?}");
    });
}

#[test]
fn with_a_lease_in_hand_nothing_is_asked_and_nothing_waits() {
    paused(async {
        let redis = redis();
        let bucket = warm(&redis, 2_000, 200).await;
        sleep(ms(1_000)).await;
        // A crowd reserves slots for all its calls, and for as many calls again.
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let bucket = bucket.clone();
            tasks.spawn(
                async move { send(&bucket, &one(), &Sent::default(), Duration::ZERO).await },
            );
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap().unwrap();
        }
        let (calls, leased) = (bucket.gauges().calls(), bucket.gauges().leased());
        assert!(leased >= 10, "{leased}");
        for _ in 0..10 {
            assert!(matches!(bucket.take(&one()), Take::Taken));
        }
        assert_eq!(bucket.gauges().calls(), calls);
        assert_eq!(bucket.gauges().leased(), leased - 10);
    });
}

#[test]
fn all_workers_get_the_same_and_all_of_it() {
    for (tokens, burst) in [(2_000, 200), (20, 10), (100, 10)] {
        paused(async {
            let redis = redis();
            let (_tasks, workers) = crowds(&redis, 8, tokens, burst).await;
            let start = Instant::now();
            sleep(ms(10_000)).await;
            let counts: Vec<_> = workers.iter().map(|(_, sent)| sent.since(start)).collect();
            let (total, jain) = (counts.iter().sum::<usize>(), jain_index(&counts));
            assert!(jain >= 0.99, "{jain}: {counts:?}");
            assert!(
                total >= 10 * tokens as usize * 98 / 100,
                "{total} at {tokens}/s: {counts:?}"
            );
        });
    }
}

#[test]
fn one_call_serves_ten_requests_of_eight_busy_workers() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 8, 2_000, 200).await;
        let (start, calls) = (Instant::now(), redis.state().calls.len());
        sleep(ms(10_000)).await;
        let calls = redis.state().calls.len() - calls;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(start)).sum();
        assert!(calls * 10 <= sent, "{calls} calls for {sent} requests");
    });
}

#[test]
fn nobody_starves_where_not_all_workers_fit_into_the_horizon() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 8, 1, 2).await;
        let (start, calls) = (Instant::now(), redis.state().calls.len());
        sleep(ms(80_000)).await;
        let counts: Vec<_> = workers.iter().map(|(_, sent)| sent.since(start)).collect();
        assert!(
            counts.iter().all(|count| (9..=11).contains(count)),
            "{counts:?}"
        );
        let calls = redis.state().calls.len() - calls;
        // Each send takes two calls: one learns when there will be room, and one gets the slot. A
        // few more calls are made because packets were sent again.
        assert!(calls <= 2 * 80 + 20, "{calls}");
    });
}

#[test]
fn a_clock_that_is_set_back_stops_nobody() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 2, 100, 10).await;
        redis.state().offset -= 20_000_000;
        let start = Instant::now();
        sleep(ms(2_000)).await;
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(start)).sum();
        assert!(sent >= 190, "{sent}");
    });
}

#[test]
fn a_clock_that_is_set_forward_is_noticed_and_costs_one_cold_start() {
    paused(async {
        let redis = redis();
        let (_tasks, workers) = crowds(&redis, 4, 100, 20).await;
        redis.state().offset += 20_000_000;
        let start = Instant::now();
        sleep(ms(3_000)).await;
        let steps: u64 = workers
            .iter()
            .map(|(bucket, _)| bucket.gauges().clock_steps())
            .sum();
        assert!((1..=4).contains(&steps), "{steps}");
        let sent: usize = workers.iter().map(|(_, sent)| sent.since(start)).sum();
        // This is a horizon of 500 ms and a lease of 100 ms, and the slots that were leased before.
        assert!((230..=300).contains(&sent), "{sent}");
    });
}
