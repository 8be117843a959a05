use std::{collections::HashMap, time::Duration};

use courteous_dead_letter::{LetterStore, Sink, State, StateKind};
use courteous_test_servers::{Act, ScriptedServer};

use crate::bench::{Bench, KEY, keys, letter, run, slow_server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_whose_key_is_blank_is_listed_without_one_and_is_not_sent_in_bulk() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let mut letter = letter(&server, 1);
    letter.headers.insert(KEY, " ".parse().unwrap());
    bench.store.push(letter).await.unwrap();
    let list = bench.run("list --json").await.with(0).json();
    assert!(list[0]["idempotency_key"].is_null());
    bench.run("replay").await;
    assert!(server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_letter_is_sent_once_with_its_own_key_and_its_own_bytes() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    bench.push(&server, 50).await;
    let replay = bench.run("replay").await.with(0);
    assert_eq!(replay.out(), "50 delivered\n");
    // The output is not a terminal, so there is no bar.
    assert_eq!(replay.err(), "");
    let expected = (0..50).map(|n| (format!("key-of-{n}"), vec![format!("order {n}")]));
    assert_eq!(keys(&server), expected.collect::<HashMap<_, _>>());
    assert_eq!(bench.count(StateKind::Delivered).await, 50);

    assert_eq!(
        bench.run("replay").await.with(0).out(),
        "nothing to be sent\n"
    );
    assert_eq!(server.requests().len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_delivered_is_told_by_the_exit_code_and_by_its_id() {
    let acts = [200, 404, 200].map(|status| Act::respond(status, "", ""));
    let (bench, server) = (Bench::new(), ScriptedServer::answering(acts).await.unwrap());
    let ids = bench.push(&server, 3).await;
    let replay = bench.run("replay --concurrency 1").await.with(3);
    assert_eq!(
        replay.out(),
        format!("{}  refused (404)\n2 delivered, 1 refused\n", ids[1])
    );
    assert_eq!(bench.record(ids[1]).await.state.kind(), StateKind::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_is_told_of_each_letter_in_a_line() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let ids = bench.push(&server, 2).await;
    let lines = bench
        .run("replay --json --concurrency 1")
        .await
        .with(0)
        .json();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["id"], ids[0].to_string());
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["status"]),
        (&"delivered".into(), &200.into())
    );
    assert_eq!(lines[2]["delivered"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_sends_and_changes_nothing() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let ids = bench.push(&server, 3).await;
    let before = bench.record(ids[0]).await;
    let dry = bench.run("replay --dry-run --limit 2").await.with(0).out();
    assert_eq!(dry.lines().count(), 3);
    assert!(dry.ends_with("2 would be sent\n"), "{dry}");
    assert_eq!(
        (server.requests().len(), bench.record(ids[0]).await),
        (0, before)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_can_be_narrowed() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let ids = bench.push(&server, 10).await;
    assert_eq!(
        bench.run("replay --limit 2").await.with(0).out(),
        "2 delivered\n"
    );
    let args = format!("replay --id {} --id {}", ids[9], ids[5]);
    assert_eq!(bench.run(&args).await.with(0).out(), "2 delivered\n");
    assert_eq!(
        bench.run("replay --tag order=7").await.with(0).out(),
        "1 delivered\n"
    );
    let mut sent: Vec<_> = keys(&server).into_keys().collect();
    sent.sort();
    assert_eq!(
        sent,
        ["key-of-0", "key-of-1", "key-of-5", "key-of-7", "key-of-9"]
    );

    // A delivered letter is not sent again, even if it is requested.
    let again = bench.run(&format!("replay --id {}", ids[9])).await.with(4);
    assert_eq!(again.err(), format!("{} is delivered\n", ids[9]));
    let other = "0190163d-8694-739b-aea5-966c26f8ad91";
    bench.run(&format!("replay --id {other}")).await.with(4);
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_might_run_twice_is_sent_only_by_somebody_who_knows_it() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let mut letters = Vec::new();
    for number in 0..2 {
        let mut letter = letter(&server, number);
        // A POST without a key that may have been processed.
        letter.headers.remove(KEY);
        letter.key_header = None;
        letters.push(letter.id);
        bench.store.push(letter).await.unwrap();
    }
    let replay = bench.run("replay").await.with(3);
    assert!(replay.out().ends_with("2 not sent\n"), "{replay:?}");
    bench
        .run(&format!("replay --id {}", letters[0]))
        .await
        .with(3);
    assert_eq!(server.requests().len(), 0);

    let args = format!("replay --i-know-it-may-run-twice {}", letters[0]);
    assert_eq!(bench.run(&args).await.with(0).out(), "1 delivered\n");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(bench.record(letters[1]).await.state, State::Pending);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replays_at_once_send_each_letter_once() {
    let (bench, server) = (Bench::new(), slow_server(Duration::from_millis(10)).await);
    bench.push(&server, 60).await;
    let both = tokio::join!(bench.run("replay --json"), bench.run("replay --json"));
    let sum = [both.0.with(0), both.1.with(0)].map(|ended| {
        let last = ended.json().pop().unwrap();
        last["delivered"].as_u64().unwrap()
    });
    assert_eq!(
        (
            sum[0] + sum[1],
            keys(&server).len(),
            server.requests().len()
        ),
        (60, 60, 60)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_uses_up_few_letters() {
    let bench = Bench::new();
    let gone = ScriptedServer::answering([]).await.unwrap();
    bench.push(&gone, 100).await;
    drop(gone);
    let replay = run(bench.command("replay --timeout 2s")).await.with(3);
    assert!(replay.out().contains("stopped early"), "{replay:?}");
    let records = bench
        .store
        .list(Default::default(), courteous_dead_letter::Page::first(100));
    let tried = records
        .await
        .unwrap()
        .iter()
        .filter(|record| record.redrives > 0)
        .count();
    assert!((20..40).contains(&tried), "{tried}");
    assert_eq!(bench.count(StateKind::Pending).await, 100);
}
