//! A shop that charges for orders, and honours idempotency keys.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use courteous::BoxError;
use courteous_testkit::Chance;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// What a shop has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    /// The requests that arrived whole.
    pub(crate) requests: u64,
    /// The requests among them whose key was known.
    pub(crate) replayed: u64,
    /// How often each order was charged.
    pub(crate) charges: HashMap<u64, u32>,
    keys: HashMap<String, u64>,
}

/// The server; it is stopped when it is dropped.
pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    counter: Arc<Counter>,
    task: AbortHandle,
}

struct Counter {
    books: Mutex<Books>,
    moods: Mutex<Option<Chance>>,
}

/// What else happens to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    Slow,
    FailsBefore,
    FailsAfter,
}

impl Shop {
    /// Opens a shop that is sometimes slow, and that fails before and after it has charged, until
    /// it is [calm](Self::calm).
    pub(crate) async fn open(seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counter = Arc::new(Counter {
            books: Mutex::default(),
            moods: Mutex::new(Some(Chance::new(seed))),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&counter))).abort_handle();
        Ok(Self {
            address,
            counter,
            task,
        })
    }

    pub(crate) fn calm(&self) {
        *self.counter.moods.lock().unwrap() = None;
    }

    pub(crate) fn books(&self) -> Books {
        self.counter.books.lock().unwrap().clone()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, counter: Arc<Counter>) {
    let mut connections = JoinSet::new(); // ends with this task
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let counter = Arc::clone(&counter);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&counter)));
            let server = auto::Builder::new(TokioExecutor::new());
            // A client may go away.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    counter: Arc<Counter>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let key = request.headers().get("idempotency-key").cloned();
    let order = request.into_body().collect().await?.to_bytes();
    let order = String::from_utf8(order.into())?.parse()?;
    let mood = counter.mood();
    if mood == Mood::Slow {
        sleep(Duration::from_millis(20)).await;
    }
    if mood != Mood::FailsBefore {
        counter.charge(order, key.as_ref().and_then(|key| key.to_str().ok()));
    }
    let failed = matches!(mood, Mood::FailsBefore | Mood::FailsAfter);
    let response = Response::builder().status(if failed { 500 } else { 200 });
    Ok(response.body(Full::from("charged"))?)
}

impl Counter {
    fn mood(&self) -> Mood {
        let mut moods = self.moods.lock().unwrap();
        match moods.as_mut().map(|chance| chance.below(50)) {
            Some(0) => Mood::FailsBefore,
            Some(1) => Mood::FailsAfter,
            Some(2..5) => Mood::Slow,
            _ => Mood::Good,
        }
    }

    /// Charges once for each key, and always without a key.
    fn charge(&self, order: u64, key: Option<&str>) {
        let mut books = self.books.lock().unwrap();
        books.requests += 1;
        if let Some(key) = key {
            if let Some(known) = books.keys.get(key) {
                assert_eq!(*known, order, "the key of another order");
                books.replayed += 1;
                return;
            }
            books.keys.insert(key.to_owned(), order);
        }
        *books.charges.entry(order).or_default() += 1;
    }
}
