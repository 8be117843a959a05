//! The usual hand-written retry loop.
//!
//! A decent loop: it bounds each attempt, knows which statuses may pass, and backs off
//! exponentially with jitter. It lacks what such loops lack. It has no key, so a timeout after the
//! booking is one charge too many. It sends as fast as it can. And it does not read `Retry-After`.

use std::{net::SocketAddr, time::Duration};

use http::{Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use crate::client::{
    ATTEMPT_TIMEOUT, ATTEMPTS, BoxError, Charge, HttpClient, http_client, receipt, request,
};

const FIRST_BACKOFF: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
pub(crate) struct HandWritten {
    base: String,
    http: HttpClient,
}

impl HandWritten {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self {
            base: format!("http://{server}"),
            http: http_client(),
        }
    }

    async fn attempt(&self, customer: u32) -> Result<Response<Incoming>, BoxError> {
        let response = self.http.request(request(&self.base, customer)?);
        Ok(timeout(ATTEMPT_TIMEOUT, response).await??)
    }
}

impl Charge for HandWritten {
    async fn charge(&self, customer: u32) -> Result<(), BoxError> {
        let mut backoff = FIRST_BACKOFF;
        for _ in 1..ATTEMPTS {
            match self.attempt(customer).await {
                Ok(response) if !may_pass(response.status()) => return receipt(response).await,
                _ => sleep(backoff.mul_f64(rand::random_range(0.5..1.0))).await,
            }
            backoff *= 2;
        }
        receipt(self.attempt(customer).await?).await
    }
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
