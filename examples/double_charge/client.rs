//! What the two clients have in common.

use std::{error::Error, future::Future, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{task::JoinSet, time::Instant};

/// How many customers are charged at a time.
const WORKERS: u32 = 32;
/// How often a charge is attempted, including the first attempt.
pub(crate) const ATTEMPTS: u32 = 5;
/// How long one attempt may take: much longer than the server needs, and much shorter than it
/// stalls.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Charges customers.
pub(crate) trait Charge: Clone + Send + 'static {
    /// Charges one customer. The customer must be charged once.
    fn charge(&self, customer: u32) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Charges all customers, and returns how long that took.
///
/// The client's own view of a charge does not count: the ledger decides.
pub(crate) async fn charge_all(charges: u32, client: impl Charge) -> Duration {
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let client = client.clone();
        workers.spawn(async move {
            for customer in (worker..charges).step_by(WORKERS as usize) {
                drop(client.charge(customer).await);
            }
        });
    }
    workers.join_all().await;
    start.elapsed()
}

pub(crate) fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn request(base: &str, customer: u32) -> Result<Request<Full<Bytes>>, http::Error> {
    Request::post(format!("{base}/customers/{customer}/charges")).body(Full::from("cents=1999"))
}

/// Reads the receipt.
pub(crate) async fn receipt<B>(response: Response<B>) -> Result<(), BoxError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    if response.status() != StatusCode::CREATED {
        return Err(format!("not charged: {}", response.status()).into());
    }
    response.collect().await.map_err(Into::into)?;
    Ok(())
}
