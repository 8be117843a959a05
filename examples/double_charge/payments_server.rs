//! The payments server: it honours `Idempotency-Key`, has a quota, and has a bad day.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, Request, StatusCode, header::RETRY_AFTER};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tower::ServiceExt;

use crate::{
    bad_day::{self, Mishap, STALL},
    ledger::{Ledger, Tally},
    quota::{self, Quota},
};

/// How long the bank behind the server takes for a charge.
const BANK: Duration = Duration::from_millis(10);

/// A running server.
#[derive(Debug)]
pub(crate) struct PaymentsServer {
    address: SocketAddr,
    office: Arc<Office>,
}

/// What all requests share.
#[derive(Debug)]
struct Office {
    seed: u64,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    quota: Quota,
    /// How many requests each customer's charge has taken so far, without the requests above the
    /// quota.
    attempts: Vec<u32>,
    requests: u32,
    throttled: u32,
}

/// Marks a response that must not be sent; its connection is reset instead.
#[derive(Clone, Copy, Debug)]
struct HangUp;

impl PaymentsServer {
    pub(crate) async fn start(customers: u32, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let office = Arc::new(Office {
            seed,
            books: Mutex::new(Books {
                ledger: Ledger::new(customers),
                quota: Quota::new(),
                attempts: vec![0; customers as usize],
                requests: 0,
                throttled: 0,
            }),
        });
        let router = Router::new()
            .route("/customers/{customer}/charges", post(charge))
            .with_state(Arc::clone(&office));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, router.clone()));
            }
        });
        Ok(Self { address, office })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the customers were charged.
    pub(crate) fn tally(&self) -> Tally {
        self.office.books().ledger.tally()
    }

    /// How many requests came, including those above the quota.
    pub(crate) fn requests(&self) -> u32 {
        self.office.books().requests
    }

    /// How many requests were above the quota.
    pub(crate) fn throttled(&self) -> u32 {
        self.office.books().throttled
    }
}

async fn charge(
    State(office): State<Arc<Office>>,
    Path(customer): Path<u32>,
    headers: HeaderMap,
) -> Response {
    let Some(attempt) = office.admit(customer) else {
        let retry_after = [(RETRY_AFTER, quota::RETRY_AFTER.to_string())];
        return (StatusCode::TOO_MANY_REQUESTS, retry_after).into_response();
    };
    let fault = bad_day::mishap(office.seed, customer, attempt);
    match fault {
        Some(Mishap::Reset) => return hang_up(),
        Some(Mishap::Unavailable) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => sleep(BANK).await,
    }
    let key = headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok());
    let receipt = office.books().ledger.charge(customer, key);
    match fault {
        Some(Mishap::AnswerLost) => return hang_up(),
        Some(Mishap::AnswerStalls) => sleep(STALL).await,
        _ => {}
    }
    match receipt {
        Some(number) => (StatusCode::CREATED, format!("receipt {number}\n")).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Office {
    /// The number of this attempt at the customer's charge, or `None` if it is above the quota.
    fn admit(&self, customer: u32) -> Option<u32> {
        let mut books = self.books();
        books.requests += 1;
        if !books.quota.admit() {
            books.throttled += 1;
            return None;
        }
        let attempts = books.attempts.get_mut(customer as usize);
        Some(attempts.map_or(0, |attempts| {
            *attempts += 1;
            *attempts
        }))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hang_up() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(HangUp);
    response
}

/// Serves one connection. An error of the service makes hyper end the connection without an answer.
async fn serve(stream: TcpStream, router: Router) {
    let service = service_fn(async |request: Request<_>| {
        let Ok(response) = router.clone().oneshot(request).await;
        match response.extensions().get::<HangUp>() {
            Some(_) => Err("the line went dead"),
            None => Ok(response),
        }
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if (&mut connection).await.is_err() {
        // The connection is reset, not closed: the client gets no orderly end either.
        let stream = connection.into_parts().io.into_inner();
        drop(stream.set_zero_linger());
    }
}
