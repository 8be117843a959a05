use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use courteous_core::BoxError;
use courteous_dead_letter::{
    BoxFuture, Letter, NotSent, RedriveOutcome, SecretSource, Secrets, State,
};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use tokio::time::Instant;
use tower::service_fn;

use crate::support::*;

/// A letter that was sent with a token in a header field, and one in the query.
fn secret_letter(clock: &courteous_dead_letter::Clock) -> Letter {
    let mut letter = letter(clock, HOUR);
    letter.uri =
        http::Uri::from_static("https://api.example.com/charges?sig=withheld&custom=withheld");
    letter.withheld.headers = vec![AUTHORIZATION];
    letter.withheld.query = vec!["sig".to_owned(), "custom".to_owned()];
    letter
}

fn fresh(_: &Letter) -> Result<Secrets, BoxError> {
    Ok(Secrets::new()
        .with_header(AUTHORIZATION, HeaderValue::from_static("Bearer SESAME-1"))
        .with_query("sig", "SESAME-2")
        .with_query("custom", "SESAME-3"))
}

/// What the hook is told of one record, and the record's state.
async fn outcome<S>(source: Option<S>) -> (String, State, u32)
where
    S: SecretSource + Send + Sync + 'static,
{
    let (clock, store, mut redrive) = setup();
    let id = push(&store, secret_letter(&clock)).await;
    let heard = Arc::new(Mutex::new(String::new()));
    let hook = heard.clone();
    if let Some(source) = source {
        redrive = redrive.with_secrets(source);
    }
    let redrive = redrive.with_on_progress(move |progress| {
        *hook.lock().unwrap() = match progress.outcome() {
            RedriveOutcome::NotSent(why @ NotSent::MissingSecrets(_)) => why.to_string(),
            other => format!("{other:?}"),
        };
    });
    redrive
        .run(&store, Ledger::default().server(200))
        .await
        .unwrap();
    let record = get(&store, id).await;
    let heard = heard.lock().unwrap().clone();
    (heard, record.state, record.redrives)
}

type Source = fn(&Letter) -> Result<Secrets, BoxError>;

#[tokio::test]
async fn without_fresh_secrets_it_is_not_sent_and_what_is_missing_is_named() {
    let missing = "no fresh secrets for authorization, sig=, custom=".to_owned();
    assert_eq!(outcome(None::<Source>).await, (missing, State::Pending, 0));
    let some: Source = |_| Ok(Secrets::new().with_query("sig", "SESAME"));
    let missing = "no fresh secrets for authorization, custom=".to_owned();
    assert_eq!(outcome(Some(some)).await, (missing, State::Pending, 0));
    let broken: Source = |_| Err("the vault is closed".into());
    let (heard, state, redrives) = outcome(Some(broken)).await;
    assert!(heard.contains("SecretsFailed"), "{heard}");
    assert_eq!((state, redrives), (State::Pending, 0));
}

#[tokio::test]
async fn with_fresh_secrets_it_is_sent_as_it_was() {
    let (clock, store, redrive) = setup();
    let id = push(&store, secret_letter(&clock)).await;
    let server = service_fn(async |request: Request<Body>| {
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer SESAME-1");
        let expected = "https://api.example.com/charges?sig=SESAME-2&custom=SESAME-3";
        assert_eq!(*request.uri(), expected);
        Ok::<_, Infallible>(response(200))
    });
    redrive
        .with_secrets(fresh)
        .run(&store, boxed(server))
        .await
        .unwrap();
    assert_eq!(state(&store, id).await, DELIVERED);
}

#[tokio::test]
async fn a_source_may_have_to_wait_and_is_not_asked_for_what_needs_none() {
    struct Vault;
    impl SecretSource for Vault {
        fn secrets<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Secrets, BoxError>> {
            assert!(!letter.withheld.is_empty());
            Box::pin(async {
                tokio::task::yield_now().await;
                fresh(letter)
            })
        }
    }
    assert_eq!(outcome(Some(Vault)).await.1, DELIVERED);
    let (clock, store, redrive) = setup();
    push(&store, letter(&clock, HOUR)).await;
    let summary = redrive
        .with_secrets(Vault)
        .run(&store, Ledger::default().server(200))
        .await;
    assert_eq!(summary.unwrap().delivered, 1);
}

#[tokio::test]
async fn a_fresh_secret_is_not_written_when_the_redrive_fails() {
    let (clock, store, redrive) = setup();
    let id = push(&store, secret_letter(&clock)).await;
    let server = service_fn(async |request: Request<Body>| {
        let token = request.headers()[AUTHORIZATION]
            .to_str()
            .unwrap()
            .to_owned();
        let uri = request.uri().clone();
        Err::<http::Response<Body>, _>(std::io::Error::other(format!("{uri} with {token} failed")))
    });
    redrive
        .with_secrets(fresh)
        .run(&store, boxed(server))
        .await
        .unwrap();
    let record = get(&store, id).await;
    assert!(!format!("{record:?}").contains("SESAME"), "{record:?}");
    assert_eq!(
        record.letter.failure.last_error.unwrap(),
        "https://api.example.com/charges?sig=[withheld]&custom=[withheld] with [withheld] failed"
    );
}

#[tokio::test(start_paused = true)]
async fn with_secrets_that_come_too_late_it_is_not_sent() {
    /// It answers exactly when the time is over.
    struct Slow;
    impl SecretSource for Slow {
        fn secrets<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Secrets, BoxError>> {
            Box::pin(async {
                tokio::time::advance(30 * SECOND).await;
                fresh(letter)
            })
        }
    }
    let (clock, store, redrive) = setup();
    let id = push(&store, secret_letter(&clock)).await;
    let ledger = Ledger::default();
    let redrive = redrive.with_secrets(Slow).with_on_progress(|progress| {
        let outcome = progress.outcome();
        let too_late = matches!(outcome, RedriveOutcome::NotSent(NotSent::TooLate));
        assert!(too_late, "{outcome:?}");
    });
    let summary = redrive.run(&store, ledger.server(200)).await.unwrap();
    assert_eq!((summary.not_sent, summary.total()), (1, 1));
    assert!(ledger.requests().is_empty());
    let record = get(&store, id).await;
    assert_eq!((record.state, record.redrives), (State::Pending, 0));
}

#[tokio::test(start_paused = true)]
async fn secrets_that_never_come_are_not_waited_for_beyond_the_total_timeout() {
    struct Silent;
    impl SecretSource for Silent {
        fn secrets<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Result<Secrets, BoxError>> {
            Box::pin(std::future::pending())
        }
    }
    let (clock, store, redrive) = setup();
    let id = push(&store, secret_letter(&clock)).await;
    let ledger = Ledger::default();
    let start = Instant::now();
    let redrive = redrive.with_secrets(Silent);
    let run = redrive.run(&store, ledger.server(200));
    let summary = tokio::time::timeout(HOUR, run).await.unwrap().unwrap();
    assert_eq!(start.elapsed(), 30 * SECOND);
    assert_eq!((summary.not_sent, summary.total()), (1, 1));
    assert!(ledger.requests().is_empty());
    let record = get(&store, id).await;
    assert_eq!((record.state, record.redrives), (State::Pending, 0));
}
