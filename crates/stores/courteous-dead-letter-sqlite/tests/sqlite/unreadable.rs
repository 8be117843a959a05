use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use courteous_dead_letter::{
    Filter, LetterStore, Mark, NotSent, Page, Redrive, RedriveOutcome, StateKind, StoreError,
    Unreadable,
};
use http::{Request, Response};
use http_body_util::Full;

use crate::{claim, intruder, number, numbers, push, store};

/// Faults of the second of three rows, each with the column that the error names.
const FAULTS: [(&str, &str); 15] = [
    ("method", "DELETE FROM requests WHERE seq = 2"),
    ("method", "UPDATE requests SET method = '' WHERE seq = 2"),
    (
        "uri",
        "UPDATE requests SET uri = CAST(x'ff' AS TEXT) WHERE seq = 2",
    ),
    (
        "headers",
        "UPDATE requests SET headers = 'ham' WHERE seq = 2",
    ),
    (
        "withheld",
        "UPDATE requests SET withheld = '[' WHERE seq = 2",
    ),
    (
        "body_kind",
        "UPDATE requests SET body_kind = 'eaten' WHERE seq = 2",
    ),
    (
        "tags",
        r#"UPDATE letters SET tags = '{"order": 1}' WHERE seq = 2"#,
    ),
    (
        "reason",
        "UPDATE letters SET reason = 'boredom' WHERE seq = 2",
    ),
    (
        "reason",
        "UPDATE letters SET reason = CAST(x'c0' AS TEXT) WHERE seq = 2",
    ),
    ("attempts", "UPDATE letters SET attempts = -1 WHERE seq = 2"),
    ("history", "UPDATE letters SET history = '' WHERE seq = 2"),
    (
        "last_status",
        "UPDATE letters SET last_status = 65999 WHERE seq = 2",
    ),
    (
        "fence",
        "UPDATE letters SET state = 'claimed', fence = -2, lease_until = 1 WHERE seq = 2",
    ),
    (
        "fence",
        "UPDATE letters SET fence = 9223372036854775807 WHERE seq = 2",
    ),
    (
        "replays",
        "UPDATE letters SET replays = 4294967296 WHERE seq = 2",
    ),
];

const ALL: Page = Page::first(100);

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_and_holds_up_no_other() {
    for (column, fault) in FAULTS {
        let (store, folder) = store();
        let ids = push(&store, 0..3).await;
        let changed = intruder(&folder.path().join("letters.db")).execute(fault, ());
        assert_eq!(changed, Ok(1), "{fault}");

        assert_eq!(numbers(&store).await, [0, 2], "{fault}");
        let first = store.list(Filter::new(), Page::first(2)).await.unwrap();
        assert_eq!(first.len(), 2, "a page is full where there are more");
        let found = store.unreadable(Filter::new(), ALL).await.unwrap();
        assert_eq!(found, [Unreadable::new(Some(ids[1]), column)], "{fault}");
        assert_eq!(store.stats().await.unwrap().total(), 3);
        let error = store.get(ids[1]).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { column: named, id } if (named, id) == (column, Some(ids[1]))),
            "{error:?}"
        );
        let claimed = claim(&store, 9).await;
        let numbers: Vec<_> = claimed.iter().map(|one| number(&one.letter)).collect();
        assert_eq!(numbers, [0, 2], "{fault}");

        store.mark(ids[1], Mark::Discarded).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(store.purge(Duration::ZERO).await.unwrap(), 1, "{fault}");
        let found = store.unreadable(Filter::new(), ALL).await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[tokio::test]
async fn a_row_without_an_id_is_told_and_holds_up_no_other() {
    let (store, folder) = store();
    push(&store, 0..3).await;
    let intruder = intruder(&folder.path().join("letters.db"));
    let nameless = "UPDATE letters SET id = x'00' WHERE seq = 2";
    intruder.execute(nameless, ()).unwrap();
    let found = store.unreadable(Filter::new(), ALL).await.unwrap();
    assert_eq!(found, [Unreadable::new(None, "id")]);
    assert_eq!(numbers(&store).await, [0, 2]);
    assert!(store.stats().await.unwrap().oldest_age.is_some());
    assert_eq!(claim(&store, 9).await.len(), 2);
}

#[tokio::test]
async fn rows_that_cannot_be_read_come_in_pages_and_as_a_filter_says() {
    let (store, folder) = store();
    let ids = push(&store, 0..10).await;
    let intruder = intruder(&folder.path().join("letters.db"));
    intruder
        .execute(
            "UPDATE letters SET history = 'x', state = iif(seq = 1, 'expired', state) WHERE seq % 2 = 1",
            (),
        )
        .unwrap();
    let mut page = Page::first(2);
    let mut found = Vec::new();
    while let Some(last) = {
        let part = store.unreadable(Filter::new(), page).await.unwrap();
        assert!(part.len() <= 2);
        found.extend(part.iter().filter_map(|one| one.id));
        part.last().copied()
    } {
        page = Page::after(last.id.unwrap(), 2);
    }
    assert_eq!(found, [ids[0], ids[2], ids[4], ids[6], ids[8]]);
    let pending = Filter::new().with_state(StateKind::Pending);
    assert_eq!(store.unreadable(pending, ALL).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_state_that_is_not_known_here_is_never_purged() {
    let (store, folder) = store();
    let ids = push(&store, 0..2).await;
    let intruder = intruder(&folder.path().join("letters.db"));
    let parked = "UPDATE letters SET state = 'parked', changed_at = 1 WHERE seq = 1";
    intruder.execute(parked, ()).unwrap();
    assert_eq!(store.purge(Duration::ZERO).await.unwrap(), 0);
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.unreadable, stats.total()), (1, 2));
    let found = store.unreadable(Filter::new(), ALL).await.unwrap();
    assert_eq!(found, [Unreadable::new(Some(ids[0]), "state")]);
}

#[tokio::test]
async fn a_redrive_tells_what_it_cannot_read_and_sends_the_rest() {
    let (store, folder) = store();
    let ids = push(&store, 0..3).await;
    let intruder = intruder(&folder.path().join("letters.db"));
    let broken = "UPDATE requests SET headers = 'ham' WHERE seq = 1";
    intruder.execute(broken, ()).unwrap();
    let server = tower::service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let expected = ids[0];
    let redrive = Redrive::new().with_on_progress(move |progress| {
        if let RedriveOutcome::NotSent(why) = progress.outcome() {
            assert!(matches!(why, NotSent::Unreadable { column: "headers" }));
            assert_eq!(progress.id(), expected);
        }
    });
    let dry = redrive.clone().with_dry_run(true);
    let dry = dry.run(&store, server).await.unwrap();
    assert_eq!((dry.would_send, dry.not_sent), (2, 1));
    let summary = redrive.run(&store, server).await.unwrap();
    assert_eq!((summary.delivered, summary.not_sent), (2, 1));
    assert!(!summary.is_success());
    let one = redrive.with_id(ids[0]).run(&store, server).await.unwrap();
    assert_eq!(one.not_sent, 1);
}

/// Otherwise each run would read all waiting letters, and hold up the pushes.
#[tokio::test]
async fn a_redrive_tells_only_what_it_came_upon_and_each_once() {
    let (store, folder) = store();
    push(&store, 0..40).await;
    let intruder = intruder(&folder.path().join("letters.db"));
    let broken =
        "UPDATE letters SET history = 'x', not_before = iif(seq > 20, 4000000000000000, NULL)
        WHERE seq % 2 = 1 OR seq > 30";
    intruder.execute(broken, ()).unwrap();
    let nameless = "UPDATE letters SET id = x'00' WHERE seq = 2";
    intruder.execute(nameless, ()).unwrap();
    let server = tower::service_fn(async |_: Request<Full<Bytes>>| {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let redrive = Redrive::new().with_concurrency(4.try_into().unwrap());
    let summary = redrive.run(&store, server).await.unwrap();
    // Ten unreadable letters are due, and one more has no id.
    assert_eq!((summary.delivered, summary.not_sent), (14, 11));
    let again = redrive.run(&store, server).await.unwrap();
    assert_eq!((again.delivered, again.not_sent), (0, 11));
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_found_among_very_many() {
    let (store, folder) = store();
    let ids = push(&store, 0..2_500).await;
    let intruder = intruder(&folder.path().join("letters.db"));
    let broken = "UPDATE letters SET history = 'x' WHERE seq IN (1, 1000, 1001, 2001, 2500)";
    intruder.execute(broken, ()).unwrap();
    let found = async |page| {
        let found = store.unreadable(Filter::new(), page).await.unwrap();
        found.iter().filter_map(|one| one.id).collect::<Vec<_>>()
    };
    let all = [ids[0], ids[999], ids[1000], ids[2000], ids[2499]];
    assert_eq!(found(Page::first(9)).await, all);
    assert_eq!(found(Page::first(2)).await, all[..2]);
    assert_eq!(found(Page::after(all[1], 2)).await, all[2..4]);
    assert_eq!(found(Page::after(all[4], 2)).await, []);
}
