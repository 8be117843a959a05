//! What happens to a schedule if its state in Redis is not the state that the workers left there.

use std::num::NonZeroU32;

use courteous_limit::Ask;
use courteous_test_servers::{BOUND, Fleet, Load, Redis, Sends, Sent, send};
use courteous_throttle_redis::RedisBucket;
use tokio::{task::JoinSet, time::timeout};

use crate::support::{link, quota};

/// Commands that spoil the schedule at `key`, as another program or a mistake may do.
fn accidents(key: &str, fields: &[String]) -> Vec<Vec<Vec<String>>> {
    let words = |text: &str| text.split(' ').map(|word| word.replace('@', key)).collect();
    let steps = |texts: &[&str]| texts.iter().map(|text| words(text)).collect();
    let mut all = vec![
        // These make keys of another type, and another program's hash.
        steps(&["SET @ text"]),
        steps(&["DEL @", "RPUSH @ one two"]),
        steps(&["DEL @", "HSET @ name value"]),
        steps(&["SET @:seen text"]),
        steps(&["DEL @:line", "HSET @:line name value"]),
        steps(&["SET @ 1", "SET @:seen 2", "SET @:line 3"]),
        // These add another program's field, and rates that are not rates.
        steps(&["HSET @ name value"]),
        steps(&["HSET @ rate: 1 rate:0:0 nan rate:x:y z"]),
        // These add workers that are not workers. They stay for ever, and are before all others.
        steps(&["ZADD @:seen inf a inf b -inf c 1e300 d"]),
        steps(&["ZADD @:line -inf a -inf b 0 c inf d 1e300 e"]),
        // These delete one key of the state each.
        steps(&["DEL @"]),
        steps(&["DEL @:seen"]),
        steps(&["DEL @:line"]),
    ];
    for field in fields {
        for value in ["", "0", "-1", "nan", "inf", "9e18", "text"] {
            let set = format!("HSET @ {field} {value}");
            all.push(match value {
                "" => steps(&[&format!("HDEL @ {field}")]),
                _ => steps(&[&set]),
            });
        }
    }
    all
}

fn field_names(redis: &Redis, key: &str) -> Vec<String> {
    let fields = redis.command(&["HKEYS", key]).unwrap();
    fields.lines().map(str::to_owned).collect()
}

/// Sends `calls` calls, one after another.
async fn sends(bucket: &RedisBucket, calls: usize, sends: &Sends) {
    let (ask, worker) = (Ask::new(NonZeroU32::MIN), 0);
    for _ in 0..calls {
        let outcome = timeout(BOUND, send(bucket, &ask)).await;
        let (after, by) = outcome.expect("an end").unwrap();
        sends.push(Sent { worker, after, by });
    }
}

/// More calls than any lease has slots, so that Redis has to be asked.
const MANY: usize = 60;

#[tokio::test]
async fn whatever_is_lost_or_foreign_in_the_state_costs_one_cold_start_at_most_and_no_error() {
    let Some(redis) = Redis::start() else { return };
    let link = link(&redis.url());
    let probe = RedisBucket::new(&link, "fields", quota());
    sends(&probe, 1, &Sends::new()).await;
    let fields = field_names(&redis, "courteous:{fields}");
    assert!(fields.len() > 10, "{fields:?}");

    let mut buckets = Vec::new();
    for number in 0..accidents("", &fields).len() {
        let name = format!("accident-{number}");
        let bucket = RedisBucket::new(&link, &name, quota());
        buckets.push((bucket, format!("courteous:{{{name}}}"), Sends::new()));
    }
    let send_all = async |calls: usize| {
        let mut tasks = JoinSet::new();
        for (bucket, _, sent) in &buckets {
            let (bucket, sent) = (bucket.clone(), sent.clone());
            tasks.spawn(async move { sends(&bucket, calls, &sent).await });
        }
        tasks.join_all().await;
    };
    send_all(1).await;
    let before: Vec<_> = buckets.iter().map(|(bucket, ..)| bucket.gauges()).collect();
    let mut done = Vec::new();
    for (number, (_, key, _)) in buckets.iter().enumerate() {
        let commands = accidents(key, &fields).swap_remove(number);
        for command in &commands {
            let words: Vec<_> = command.iter().map(String::as_str).collect();
            redis.command(&words).unwrap();
        }
        done.push(commands);
    }
    send_all(MANY).await;
    for (((bucket, _, sent), before), done) in buckets.iter().zip(before).zip(done) {
        let gauges = bucket.gauges();
        assert_eq!(
            (gauges.failures(), sent.len()),
            (0, 1 + MANY),
            "{done:?}: {:?}",
            bucket.last_error()
        );
        let colds = gauges.cold_starts() - before.cold_starts();
        assert!(colds <= 1, "{done:?}: {colds} cold starts");
        sent.assert_within(quota());
    }
}

#[test]
fn a_state_of_long_ago_that_is_restored_is_noticed_by_the_workers_that_saw_a_later_one() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::start(4, Load::default(), |_| {
        RedisBucket::new(&link(&redis.url()), "fleet", quota())
    });
    fleet.each_sends(20);
    for _ in 0..6 {
        let copy = |from: &str, to: &str| redis.command(&["COPY", from, to, "REPLACE"]).unwrap();
        copy("courteous:{fleet}", "{fleet}:before");
        // These are more calls than the slots that each worker had leased. So all workers have seen
        // a later state than the copy.
        fleet.each_sends(30);
        copy("{fleet}:before", "courteous:{fleet}");
        fleet.each_sends(10);
    }
    fleet.stop().assert_within(quota());
}

#[test]
fn a_state_of_an_earlier_schedule_that_is_restored_is_noticed_too() {
    let Some(redis) = Redis::start() else { return };
    let fleet = Fleet::start(4, Load::default(), |_| {
        RedisBucket::new(&link(&redis.url()), "fleet", quota())
    });
    fleet.each_sends(20);
    let copy = |from: &str, to: &str| redis.command(&["COPY", from, to, "REPLACE"]).unwrap();
    copy("courteous:{fleet}", "{fleet}:before");
    redis.command(&["DEL", "courteous:{fleet}"]).unwrap();
    for _ in 0..6 {
        fleet.each_sends(30);
        copy("{fleet}:before", "courteous:{fleet}");
    }
    fleet.each_sends(10);
    fleet.stop().assert_within(quota());
}
