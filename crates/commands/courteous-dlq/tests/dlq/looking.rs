use std::{process::Stdio, time::Duration};

use courteous_dead_letter::{Clock, Payload, Reason, Sink, StateKind};
use courteous_test_servers::{ScriptedServer, as_another_user};
use http::StatusCode;

use crate::bench::{Bench, command, letter, run};

async fn bench(orders: u32) -> (Bench, Vec<String>) {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let ids = bench.push(&server, orders).await;
    (bench, ids.iter().map(ToString::to_string).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_listed_oldest_first_and_by_what_they_are() {
    let (bench, ids) = bench(3).await;
    let list = bench.run("list").await.with(0);
    let lines: Vec<_> = list
        .out()
        .lines()
        .map(|line| line[..36].to_owned())
        .collect();
    assert_eq!(lines, ids);
    assert!(list.out().contains("pending    attempts"), "{list:?}");

    let one = bench.run("list --json --tag order=1").await.with(0).json();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["id"], ids[1]);
    assert_eq!(one[0]["idempotency_key"], "key-of-1");
    assert_eq!(
        bench
            .run("list --json --limit 2")
            .await
            .with(0)
            .json()
            .len(),
        2
    );
    assert_eq!(bench.run("list --state refused").await.with(0).out(), "");
    assert_eq!(bench.run("list --reason budget").await.with(0).out(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_has_the_answer_that_has_settled_a_letter() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let mut letter = letter(&server, 1);
    letter.failure.last_status = Some(StatusCode::SERVICE_UNAVAILABLE);
    bench.store.push(letter).await.unwrap();
    assert!(bench.run("list").await.out().ends_with(" (503)\n"));
    bench.run("replay").await.with(0);
    assert!(bench.run("list").await.out().ends_with(" (200)\n"));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_to_a_full_disk_is_not_taken_for_one() {
    let (bench, _) = bench(1).await;
    for args in ["export", "list", "stats"] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = bench.command(args);
        let status = command.stdout(full).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{args}");
    }
    // A reader that has read enough causes no error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = bench.command("export");
    assert!(command.stdout(writer).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_letter_is_shown_with_its_body_only_if_that_is_wanted() {
    let (bench, ids) = bench(1).await;
    for args in ["show", "show --json"] {
        let shown = bench.run(&format!("{args} {}", ids[0])).await.with(0);
        assert!(
            shown.out().contains("key-of-0") && !shown.out().contains("order 0"),
            "{shown:?}"
        );
        let shown = bench
            .run(&format!("{args} {} --body", ids[0]))
            .await
            .with(0);
        assert!(shown.out().contains("order 0"), "{shown:?}");
    }
    let other = "0190163d-8694-739b-aea5-966c26f8ad91";
    let shown = bench.run(&format!("show {other}")).await.with(4);
    assert_eq!(shown.err(), format!("{other}: there is no such letter\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_letters_are_exported_as_lines_of_json() {
    let (bench, ids) = bench(450).await;
    let lines = bench.run("export").await.with(0).json();
    assert!(
        lines
            .iter()
            .map(|line| line["id"].as_str().unwrap())
            .eq(&ids)
    );
    assert_eq!(lines[0]["body"]["bytes"], 7);
    assert!(lines[0]["body"].get("text").is_none());
    let lines = bench
        .run("export --bodies --tag order=7")
        .await
        .with(0)
        .json();
    assert_eq!(lines[0]["body"]["text"], "order 7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_discarded_restored_purged_and_counted() {
    let (bench, ids) = bench(3).await;
    let other = "0190163d-8694-739b-aea5-966c26f8ad91";
    let args = format!("discard {} {other} {}", ids[0], ids[1]);
    let discarded = bench.run(&args).await.with(4);
    assert_eq!(discarded.out(), "2 changed\n");
    assert!(discarded.err().contains(other), "{discarded:?}");
    assert_eq!(bench.count(StateKind::Discarded).await, 2);
    bench.run(&format!("restore {}", ids[1])).await.with(0);

    let stats = bench.run("stats --json").await.with(0).json();
    assert_eq!(
        (&stats[0]["total"], &stats[0]["undelivered"]),
        (&3.into(), &2.into())
    );
    let stats = bench.run("stats").await.with(0).out();
    assert!(
        stats.contains("3 in all, 2 to be delivered, the oldest for"),
        "{stats}"
    );

    assert_eq!(
        bench.run("purge --older-than 1h").await.with(0).out(),
        "0 deleted\n"
    );
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert_eq!(
        bench.run("purge --older-than 0s").await.with(0).out(),
        "1 deleted\n"
    );
    assert_eq!(bench.count(StateKind::Pending).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_line_that_makes_no_sense_is_told_from_a_store_that_is_not_there() {
    let (bench, _) = bench(0).await;
    for wrong in [
        "",
        "mourn",
        "show not-an-id",
        "purge",
        "purge --older-than 3",
        "discard",
        "replay --rate fast",
        "replay --timeout 0s",
        "list --state lost",
    ] {
        bench.run(wrong).await.with(2);
    }
    run(command("mysql://db/letters", "stats")).await.with(2);
    let mut none = bench.command("stats");
    none.env_remove("COURTEOUS_DLQ_STORE");
    run(none).await.with(2);

    // A mistyped name is not an empty store.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leters.db");
    let missing = run(command(&format!("sqlite:{}", path.display()), "stats")).await;
    let missing = missing.with(1).err();
    assert!(
        missing.starts_with("error: ") && missing.contains("leters.db"),
        "{missing}"
    );
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_cannot_be_read_is_named_and_holds_up_no_other() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let ids = bench.push(&server, 3).await;
    let file = rusqlite::Connection::open(bench.url().replace("sqlite:", "")).unwrap();
    let broken = "UPDATE requests SET headers = 'ham' WHERE seq = 2";
    file.execute(broken, ()).unwrap();
    let told = format!("the \"headers\" of dead letter {} cannot be read\n", ids[1]);
    for args in ["list", "list --json", "export"] {
        let ended = bench.run(args).await.with(5);
        assert_eq!(
            (ended.out().lines().count(), ended.err()),
            (2, told.clone())
        );
    }
    // Only unreadable letters before the last shown letter are reported.
    bench.run("list --limit 1").await.with(0);
    let shown = bench.run(&format!("show {}", ids[1])).await.with(5);
    assert_eq!(shown.err(), told);
    let replay = bench.run("replay").await.with(3);
    let expected = format!(
        "{}  not sent: its \"headers\" cannot be read\n2 delivered, 1 not sent\n",
        ids[1]
    );
    assert_eq!(replay.out(), expected);

    let unknown = "UPDATE letters SET reason = 'boredom' WHERE seq = 2";
    file.execute(unknown, ()).unwrap();
    let stats = bench.run("stats").await.with(5).out();
    assert!(
        stats.contains("3 in all, 0 to be delivered, 1 that cannot be read"),
        "{stats}"
    );
    bench.run(&format!("discard {}", ids[1])).await.with(0);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let purged = bench.run("purge --older-than 0s").await.with(0);
    assert_eq!(purged.out(), "3 deleted\n");
    bench.run("list").await.with(0);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_looks_needs_no_right_to_write() {
    use std::{fs, os::unix::fs::PermissionsExt};

    let (bench, ids) = bench(2).await;
    let (path, folder) = (bench.path(), bench.path().with_file_name(""));
    // Another user may not be able to enter the command's folder.
    let program = folder.join("dlq");
    fs::copy(env!("CARGO_BIN_EXE_courteous-dlq"), &program).unwrap();
    let set_mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&program, 0o755);
    let Some(url) = as_another_user(&program).map(|_| bench.url()) else {
        return;
    };
    // No process has the store open.
    let _folder = bench.close();
    set_mode(&path, 0o444);
    set_mode(&folder, 0o555);
    let other = async |args: &str| {
        let mut command = as_another_user(&program).unwrap();
        command
            .env("COURTEOUS_DLQ_STORE", &url)
            .args(args.split_whitespace());
        run(command).await
    };
    let show = format!("show {}", ids[0]);
    for args in ["stats", "list", &show, "export", "replay --dry-run"] {
        let ended = other(args).await.with(0);
        assert!(!ended.out().is_empty(), "{args}");
    }
    let backups = tempfile::tempdir().unwrap();
    set_mode(backups.path(), 0o777);
    let copy = backups.path().join("copy.db");
    other(&format!("backup {}", copy.display())).await.with(0);
    for args in [
        &format!("discard {}", ids[0]),
        "purge --older-than 0s",
        "replay",
    ] {
        let ended = other(args).await.with(1);
        let right = format!("user 65534 may not write to {}", path.display());
        assert!(ended.err().contains(&right), "{ended:?}");
    }
    set_mode(&path, 0o400);
    let right = format!(
        "user 65534 may not read {} (mode 0400, of user 0)",
        path.display()
    );
    let ended = other("stats").await.with(1);
    assert!(ended.err().contains(&right), "{ended:?}");
    set_mode(&folder, 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_a_store_and_overwrites_nothing() {
    let (bench, ids) = bench(3).await;
    let target = bench.path().with_file_name("copy.db");
    let backup = format!("backup {}", target.display());
    bench.run(&backup).await.with(0);
    let copy = format!("sqlite:{}", target.display());
    let listed = run(command(&copy, "list --json")).await.with(0).json();
    assert!(
        listed
            .iter()
            .map(|letter| letter["id"].as_str().unwrap())
            .eq(&ids)
    );
    let again = bench.run(&backup).await.with(1);
    assert!(again.err().contains("is there already"), "{again:?}");
    let postgres = command("postgres://me@127.0.0.1:1/letters", &backup);
    assert!(run(postgres).await.with(2).err().contains("pg_dump"));
}

/// The application that writes the letters may let a group read them.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_writes_takes_rights_from_others_and_not_from_the_group() {
    use std::{fs, os::unix::fs::PermissionsExt};

    let (bench, ids) = bench(1).await;
    let set = |mode| fs::set_permissions(bench.path(), fs::Permissions::from_mode(mode)).unwrap();
    let mode = || fs::metadata(bench.path()).unwrap().permissions().mode() & 0o777;
    set(0o644);
    bench.run("list").await.with(0);
    assert_eq!(mode(), 0o644);
    bench.run(&format!("discard {}", ids[0])).await.with(0);
    assert_eq!(mode(), 0o640);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_never_sent_again_says_why() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let mut runs_out = letter(&server, 1);
    runs_out.failure.reason = Reason::KeyRunsOut;
    let mut reused = letter(&server, 4);
    reused.failure.reason = Reason::KeyReused;
    let mut scrubbed = letter(&server, 2);
    scrubbed.payload = Payload::Scrubbed("password=withheld".into());
    let mut truncated = letter(&server, 3);
    truncated.payload = Payload::Truncated("order".into());
    for (letter, state, why) in [
        (runs_out, "expired", "a longer pause than its key lives"),
        (reused, "expired", "another operation has its key"),
        (scrubbed, "pending", "secrets were taken out of its body"),
        (truncated, "pending", "its body was not kept whole"),
    ] {
        let id = letter.id;
        bench.store.push(letter).await.unwrap();
        let shown = bench.run(&format!("show --json {id}")).await.with(0).json();
        assert_eq!(shown[0]["state"], state);
        let told = shown[0]["never_again"].as_str().unwrap();
        assert!(told.contains(why), "{told}");
        let page = bench.run(&format!("show {id}")).await.with(0).out();
        assert!(page.contains(why), "{page}");
    }
    let list = bench.run("list --reason key_runs_out").await.with(0).out();
    assert!(list.contains("expired    key_runs_out"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_asked_for_before_it_is_due_says_when_that_is() {
    let (bench, server) = (Bench::new(), ScriptedServer::answering([]).await.unwrap());
    let mut paused = letter(&server, 1);
    let then = Clock::system().now() + Duration::from_secs(86_400);
    paused.failure.not_before = Some(then);
    let mut runs_out = letter(&server, 2);
    runs_out.failure.reason = Reason::KeyRunsOut;
    for (letter, why) in [
        (paused, "is not due before 2"),
        (runs_out, "is expired: the server asked for a longer pause"),
    ] {
        let id = letter.id;
        bench.store.push(letter).await.unwrap();
        let told = bench.run(&format!("replay --id {id}")).await.with(4).err();
        assert!(told.contains(why), "{told}");
    }
    assert!(server.requests().is_empty());
}
