//! Measures how fast a redrive sends letters from an SQLite file, with a stack that answers at
//! once: `cargo bench -p courteous-dead-letter-sqlite --bench redrive`.
//!
//! Each letter is claimed, sent and settled, which takes two commits. Letters in flight at the same
//! time share commits. So the rate grows with the number in flight, until one core is used up.
//! `LETTERS=100000` sets how many letters there are (10,000 by default).
#![allow(clippy::expect_used, reason = "a bench may panic")]

use std::{convert::Infallible, env, num::NonZeroUsize};

use bytes::Bytes;
use courteous_dead_letter::{Clock, Failure, Letter, LetterId, Payload, Reason, Redrive, Sink};
use courteous_dead_letter_sqlite::SqliteStore;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{Empty, Full};
use tokio::{task::JoinSet, time::Instant};
use tower::service_fn;

fn letter() -> Letter {
    let now = Clock::system().now();
    let uri = Uri::from_static("https://api.example.com/v1/charges");
    let failure = Failure::new(Reason::Attempts, now);
    let mut letter = Letter::new(
        LetterId::new(now).expect("random bytes"),
        Method::POST,
        uri,
        failure,
    );
    let name = HeaderName::from_static("idempotency-key");
    let key = HeaderValue::try_from(letter.id.to_string()).expect("a key");
    letter.headers.insert(&name, key);
    letter.key_header = Some(name);
    letter.payload = Payload::Whole(Bytes::from(vec![7; 1024]));
    letter
}

#[tokio::main]
async fn main() {
    let letters: usize = env::var("LETTERS").map_or(10_000, |text| text.parse().expect("a number"));
    for at_a_time in [1, 8, 64, 512] {
        let letters = letters.min(at_a_time * 1000);
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(folder.path().join("letters.db")).expect("a store");
        let pushes: JoinSet<_> = (0..letters).map(|_| store.push(letter())).collect();
        assert!(pushes.join_all().await.iter().all(Result::is_ok));

        let stack = service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let at_a_time = NonZeroUsize::new(at_a_time).expect("some");
        let start = Instant::now();
        let redrive = Redrive::new().with_concurrency(at_a_time);
        let summary = redrive.run(&store, stack).await.expect("a summary");
        assert_eq!(summary.delivered, letters as u64);
        let rate = letters as f64 / start.elapsed().as_secs_f64();
        println!("{at_a_time:>4} at a time: {rate:>8.0} a second");
    }
}
