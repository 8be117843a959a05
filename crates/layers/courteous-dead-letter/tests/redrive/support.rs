use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::{Effect, Fault, Verdict};
use courteous_dead_letter::{
    Clock, Failure, Letter, LetterId, LetterStore, MemoryStore, PastAttempt, Payload, Reason,
    Record, Redrive, Sink, State,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{service_fn, util::BoxCloneSyncService};

pub(crate) type Body = Full<Bytes>;
pub(crate) type Server =
    BoxCloneSyncService<Request<Body>, Response<Body>, courteous_core::BoxError>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A fixed clock, a store that uses it, and a redrive.
pub(crate) fn setup() -> (Clock, MemoryStore, Redrive) {
    let clock = Clock::fixed(std::time::UNIX_EPOCH + 1_800_000_000 * SECOND);
    let store = MemoryStore::new().with_clock(clock.clone());
    (clock.clone(), store, Redrive::new().with_clock(clock))
}

/// A payment with a key, which failed `age` ago after one attempt that may have been processed.
pub(crate) fn letter(clock: &Clock, age: Duration) -> Letter {
    let then = clock.now() - age;
    let uri = http::Uri::from_static("https://api.example.com/charges?x=1");
    let mut failure = Failure::new(Reason::Attempts, then);
    let verdict = Verdict::transient(Effect::MaybeProcessed, Fault::Server);
    failure.history = vec![PastAttempt::new(1, then, verdict, None)];
    let id = LetterId::new(then).unwrap();
    let mut letter = Letter::new(id, Method::POST, uri, failure);
    letter.payload = Payload::Whole(Bytes::from("amount=42"));
    letter.key_header = Some(KEY);
    letter
        .headers
        .insert(KEY, HeaderValue::try_from(id.to_string()).unwrap());
    letter
        .headers
        .insert("x-other", HeaderValue::from_static("1"));
    letter
}

pub(crate) fn without_key(mut letter: Letter) -> Letter {
    letter.key_header = None;
    letter.headers.remove(KEY);
    letter
}

pub(crate) async fn push(store: &MemoryStore, letter: Letter) -> LetterId {
    let id = letter.id;
    store.push(letter).await.unwrap();
    id
}

pub(crate) async fn get(store: &impl LetterStore, id: LetterId) -> Record {
    store.get(id).await.unwrap().unwrap()
}

pub(crate) async fn state(store: &impl LetterStore, id: LetterId) -> State {
    get(store, id).await.state
}

pub(crate) const DELIVERED: State = State::Delivered {
    status: StatusCode::OK,
};

/// A server that records its requests, and charges once for each key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    order: Vec<String>,
    by_key: BTreeMap<String, u32>,
}

impl Ledger {
    /// The keys of all requests, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().order.clone()
    }

    /// How many different keys were charged.
    pub(crate) fn charges(&self) -> usize {
        self.0.lock().unwrap().by_key.len()
    }

    /// The server, which answers with this status.
    pub(crate) fn server(&self, status: u16) -> Server {
        self.server_after(Duration::ZERO, status)
    }

    /// The server, which charges at once, and answers after this delay.
    pub(crate) fn server_after(&self, delay: Duration, status: u16) -> Server {
        let ledger = self.0.clone();
        let server = service_fn(move |request: Request<Body>| {
            let ledger = ledger.clone();
            async move {
                let key = request.headers().get(KEY);
                let key = key.map_or_else(String::new, |key| key.to_str().unwrap().to_owned());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, "amount=42");
                {
                    let mut ledger = ledger.lock().unwrap();
                    ledger.order.push(key.clone());
                    *ledger.by_key.entry(key).or_default() += 1;
                }
                tokio::time::sleep(delay).await;
                Ok::<_, Infallible>(response(status))
            }
        });
        boxed(server)
    }
}

pub(crate) fn response(status: u16) -> Response<Body> {
    let mut response = Response::new(Full::from("answer"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) fn boxed<S>(service: S) -> Server
where
    S: tower::Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<courteous_core::BoxError>,
    S::Future: Send,
{
    BoxCloneSyncService::new(tower::ServiceExt::map_err(service, Into::into))
}
