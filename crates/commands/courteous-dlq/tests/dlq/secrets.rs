use bytes::Bytes;
use courteous_dead_letter::{BodyScrubber, DeadLetterLayer, Encrypted, Sink, StateKind, Tags};
use courteous_test_servers::{Act, ScriptedServer};
use courteous_testkit::{Probe, Reply};
use http::{Request, header::AUTHORIZATION};
use http_body_util::Full;
use tower::{Layer, ServiceExt};

use crate::bench::{Bench, Ended, command, letter, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withheld_header_is_taken_from_the_environment_and_never_shown() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let mut letter = letter(&server, 1);
    letter.withheld.headers = vec![AUTHORIZATION];
    bench.store.push(letter).await.unwrap();

    let without = bench.run("replay").await.with(3);
    assert!(
        without.out().contains("no fresh secrets for authorization"),
        "{without:?}"
    );
    // Another host, and another port of the same host: the default port applies, as none is named.
    for other in ["other.example", "127.0.0.1"] {
        replay_with(&bench, &format!("authorization=env:TOKEN@{other}"))
            .await
            .with(3);
    }
    assert_eq!(server.requests().len(), 0);

    let own = server.uri("").replace("http://", "");
    let with = replay_with(&bench, &format!("authorization=env:TOKEN@{own}"))
        .await
        .with(0);
    assert!(!format!("{with:?}").contains("hunter2"));
    let requests = server.requests();
    assert_eq!(requests[0].header("authorization"), Some("Bearer hunter2"));
    assert_eq!(requests[0].header("idempotency-key"), Some("key-of-1"));
    assert_eq!(bench.count(StateKind::Delivered).await, 1);

    // A secret that was written on the command line by mistake is not repeated.
    let wrong = bench
        .run("replay --header authorization=hunter2")
        .await
        .with(2);
    assert!(!format!("{wrong:?}").contains("hunter2"));
}

/// Runs a replay whose environment has the secret.
async fn replay_with(bench: &Bench, header: &str) -> Ended {
    let mut command = bench.command(&format!("replay --json --header {header}"));
    command.env("TOKEN", "Bearer hunter2");
    run(command).await
}

/// An outsider who can register a webhook decides where the oldest letter goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_names_no_server_is_sent_to_no_server() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let mut letter = letter(&server, 1);
    letter.withheld.headers = vec![AUTHORIZATION];
    bench.store.push(letter).await.unwrap();
    let rejected = replay_with(&bench, "authorization=env:TOKEN").await.with(2);
    let form = "`authorization=env:API_TOKEN@api.example.com`";
    assert!(rejected.err().contains(form), "{rejected:?}");
    assert_eq!(server.requests().len(), 0);
    assert_eq!(bench.count(StateKind::Pending).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_not_sent_in_clear_to_another_machine() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let mut letter = letter(&server, 1);
    letter.withheld.headers = vec![AUTHORIZATION];
    letter.uri = "http://api.example.com/orders/1".parse().unwrap();
    bench.store.push(letter).await.unwrap();
    let held = replay_with(&bench, "authorization=env:TOKEN@api.example.com")
        .await
        .with(3);
    assert!(held.out().contains("over https"), "{held:?}");
    assert!(!format!("{held:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_takes_a_secret_to_no_other_server() {
    let (bench, other) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let location = format!("location: {}\r\n", other.uri("/elsewhere"));
    let server = ScriptedServer::answering([Act::respond(307, &location, "")]);
    let server = server.await.unwrap();
    let mut letter = letter(&server, 1);
    letter.withheld.headers = vec![AUTHORIZATION];
    let id = letter.id;
    bench.store.push(letter).await.unwrap();
    let own = server.uri("").replace("http://", "");
    replay_with(&bench, &format!("authorization=env:TOKEN@{own}"))
        .await
        .with(3);
    assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
    assert_eq!(bench.record(id).await.state.kind(), StateKind::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_a_database_is_in_no_output() {
    // No server listens there; a bad port; an unknown parameter; an unknown scheme.
    for (url, code) in [
        ("postgres://me:hunter2@127.0.0.1:1/letters", 1),
        ("postgres://me:hunter2@127.0.0.1:one/letters", 1),
        (
            "postgres://127.0.0.1:1/letters?password=hunter2&connect_timeout=hunter2",
            1,
        ),
        ("postgre://me:hunter2@127.0.0.1/letters", 2),
    ] {
        let mut given = command("", "stats --store");
        given.arg(url);
        let (wrong, help) = (command(url, "replay --rate fast"), command(url, "--help"));
        for (command, code) in [(given, code), (wrong, 2), (help, 0)] {
            let ended = run(command).await.with(code);
            assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_bodies_are_sent_only_with_the_key_and_never_shown_without() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let key = "01".repeat(32);
    let store = Encrypted::new(bench.store.clone(), key.parse().unwrap());
    let letter = letter(&server, 1);
    let id = letter.id;
    store.push(letter).await.unwrap();

    let without = bench.run(&format!("show --json --body {id}")).await.with(0);
    assert!(!without.out().contains("order 1"), "{without:?}");
    assert!(
        bench
            .run("replay")
            .await
            .with(3)
            .out()
            .contains("encrypted")
    );
    let with = |key: &str, args| {
        let mut command = bench.command(args);
        command.env("COURTEOUS_DLQ_KEY", key);
        run(command)
    };
    let malformed = with("hunter2", "replay").await.with(1);
    assert!(!format!("{malformed:?}").contains("hunter2"));
    with(&"02".repeat(32), "replay").await.with(3);
    assert_eq!(server.requests().len(), 0);
    with(&key, "replay").await.with(0);
    assert_eq!(server.requests()[0].body, b"order 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_layer_withholds_is_in_no_output() {
    const SECRET: &str = "s3same-0123456789abcdef";
    let bench = Bench::new();
    let layer = DeadLetterLayer::new(bench.store.clone()).with_body_scrubber(BodyScrubber::new());
    let down = layer.layer(Probe::new().otherwise(|_| Reply::status(503)));
    let uri = format!("http://me:{SECRET}@a.example/?private_token={SECRET}&page_token=42");
    let request = Request::put(uri)
        .header("x-vault-token", SECRET)
        .header("x-note", format!("Bearer {SECRET}"))
        .header("content-type", "application/json")
        .extension(Tags::new().with("order", "42").with("by", SECRET));
    let body = format!(r#"{{"client_secret":"{SECRET}","amount":42}}"#);
    let request = request.body(Full::<Bytes>::from(body)).unwrap();
    assert_eq!(down.oneshot(request).await.unwrap().status(), 503);

    let id = bench.run("list --json").await.with(0).json()[0]["id"].clone();
    let id = id.as_str().unwrap();
    let mut all = String::new();
    for args in ["list", "list --json", "export --bodies", "replay"] {
        let ended = bench.run(args).await;
        all += &(ended.out() + &ended.err());
    }
    for args in ["show --body", "show --json --body", "replay --id"] {
        let ended = bench.run(&format!("{args} {id}")).await;
        all += &(ended.out() + &ended.err());
    }
    assert!(!all.contains(SECRET), "{all}");
    for kept in [
        "private_token=withheld",
        "page_token=42",
        "x-vault-token",
        "client_secret",
    ] {
        assert!(all.contains(kept), "{kept}: {all}");
    }
    assert!(
        all.contains("not sent: secrets were taken out of its body"),
        "{all}"
    );
}
