//! Processes that were forked from one process do not draw the same random values: keys, ids,
//! nonces or waits. They do find what they keep for an origin, as the random key of its hash is
//! copied with it.
//!
//! These tests are here, and not in the workspace's tests, as they would bring the ciphers of
//! encrypted letters into every build.
//!
//! They run without the test harness, which has threads. If a process has threads, `fork` copies
//! only one of them, and also copies locks that the others hold.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

#[cfg(unix)]
fn main() {
    unix::main();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod unix {
    use std::{
        collections::HashMap,
        io::{Read, Write, pipe},
        process::exit,
        sync::{Arc, Mutex},
        time::{Duration, SystemTime},
    };

    use courteous::{
        idempotency::IdempotencyKeyLayer,
        retry::{Backoff, RetryLayer},
    };
    use courteous_core::{CallId, Dice, OriginHash, RequestView};
    use courteous_dead_letter::{
        Encrypted, EncryptionKey, Failure, Letter, LetterId, LetterStore, MemoryStore, Payload,
        Reason, Sink,
    };
    use courteous_testkit::{Probe, Reply};
    use fork::{Fork, fork, waitpid};
    use http::{Method, Request};
    use http_body_util::Full;
    use tower::{Layer, ServiceExt};

    const CHILDREN: usize = 4;
    /// The number of draws of each kind, in each process.
    const DRAWS: usize = 50;

    /// Kind and value.
    type Drawn = Vec<(&'static str, String)>;

    pub(super) fn main() {
        // Everything that is kept in memory exists before the fork, and so is copied.
        let before = draw();
        let control = draw_from_memory();
        let hash = hash_of_an_origin();
        let mut children = Vec::new();
        for _ in 0..CHILDREN {
            let (mut reader, mut writer) = pipe().unwrap();
            match fork().unwrap() {
                Fork::Child => {
                    assert_eq!(hash_of_an_origin(), hash);
                    let lines = draw()
                        .into_iter()
                        .map(|(kind, value)| format!("{kind} {value}\n"));
                    let text =
                        lines.collect::<String>() + &format!("control {}\n", draw_from_memory());
                    writer.write_all(text.as_bytes()).unwrap();
                    exit(0);
                }
                Fork::Parent(id) => {
                    drop(writer);
                    let mut text = String::new();
                    reader.read_to_string(&mut text).unwrap();
                    assert_eq!(waitpid(id).unwrap(), 0);
                    children.push(text);
                }
            }
        }
        let mut seen: HashMap<(String, String), usize> = HashMap::new();
        for (kind, value) in before {
            *seen.entry((kind.to_owned(), value)).or_default() += 1;
        }
        for line in children.iter().flat_map(|text| text.lines()) {
            let (kind, value) = line.split_once(' ').unwrap();
            *seen.entry((kind.to_owned(), value.to_owned())).or_default() += 1;
        }
        // All children have the parent's generator.
        let controls: Vec<_> = seen
            .iter()
            .filter(|((kind, _), _)| kind == "control")
            .collect();
        assert_eq!(controls.len(), 1, "{controls:?}");
        assert_eq!(*controls[0].1, CHILDREN);
        assert_ne!(controls[0].0.1, control.to_string());

        for kind in ["key", "call", "letter", "nonce", "jitter", "wait"] {
            let values: Vec<_> = seen.iter().filter(|((of, _), _)| of == kind).collect();
            let twice: Vec<_> = values.iter().filter(|(_, count)| **count > 1).collect();
            assert!(twice.is_empty(), "{kind}: {twice:?}");
            assert_eq!(values.len(), DRAWS * (1 + CHILDREN), "{kind}");
            println!(
                "{kind}: {} in {} processes, all different",
                values.len(),
                1 + CHILDREN
            );
        }
    }

    /// Draws the values that must differ between any two processes.
    fn draw() -> Drawn {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut drawn = Vec::new();
            for _ in 0..DRAWS {
                drawn.push(("key", key().await));
                drawn.push(("call", format!("{:?}", CallId::random().unwrap())));
                drawn.push(("jitter", Dice::new().roll().to_string()));
                drawn.push(("wait", wait().await));
                let (letter, nonce) = letter().await;
                drawn.push(("letter", letter));
                drawn.push(("nonce", nonce));
            }
            drawn
        })
    }

    async fn key() -> String {
        let probe = Probe::new();
        let client = IdempotencyKeyLayer::new().layer(probe.clone());
        let order = Request::post("http://shop.test/orders").body(Full::<bytes::Bytes>::default());
        client.oneshot(order.unwrap()).await.unwrap();
        let seen = probe.seen();
        seen[0].headers["idempotency-key"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// A retry's backoff, to the nanosecond.
    async fn wait() -> String {
        let waits = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&waits);
        let retry = RetryLayer::new()
            .with_backoff(Backoff::constant(Duration::from_secs(3600)))
            .with_max_wait(Duration::MAX)
            .with_on_retry(move |event| noted.lock().unwrap().push(event.wait()));
        let client = retry.layer(Probe::new().replies([Reply::status(503)]));
        let look = Request::get("http://shop.test/").body(Full::<bytes::Bytes>::default());
        client.oneshot(look.unwrap()).await.unwrap();
        let waits = waits.lock().unwrap();
        assert_eq!(waits.len(), 1);
        waits[0].as_nanos().to_string()
    }

    /// The id of a letter, which all processes make at the same moment, and the nonce of its body.
    async fn letter() -> (String, String) {
        let id = LetterId::new(SystemTime::UNIX_EPOCH).unwrap();
        let failure = Failure::new(Reason::Attempts, SystemTime::UNIX_EPOCH);
        let target = "http://shop.test/orders".parse().unwrap();
        let mut letter = Letter::new(id, Method::POST, target, failure);
        letter.payload = Payload::Whole("card=4242".into());
        let store = MemoryStore::new();
        let encrypted = Encrypted::new(store.clone(), EncryptionKey::new([7; 32]));
        encrypted.push(letter).await.unwrap();
        let sealed = store.get(id).await.unwrap().unwrap().letter.payload;
        // A version, and then the nonce.
        (id.to_string(), format!("{:?}", &sealed.bytes()[1..25]))
    }

    fn hash_of_an_origin() -> OriginHash {
        let request = Request::get("http://shop.test/").body(()).unwrap();
        OriginHash::of(&RequestView::of(&request).origin())
    }

    /// Draws from a generator in memory: the same value in each child.
    fn draw_from_memory() -> u64 {
        rand::random()
    }
}
