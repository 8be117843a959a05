//! The same HTTP client, with a courteous stack around it.

use std::{error::Error, net::SocketAddr, num::NonZeroU32, time::Duration};

use courteous::{
    Courteous, Stack,
    concurrency::ConcurrencyLimitLayer,
    idempotency::IdempotencyKeyLayer,
    retry::{Budget, RetryLayer},
    throttle::{Rate, ThrottleLayer},
};

use crate::{
    client::{
        ATTEMPT_TIMEOUT, ATTEMPTS, BoxError, Charge, HttpClient, http_client, receipt, request,
    },
    quota,
};

/// In flight together, the requests are no more than the quota takes in a burst. So however late
/// the network delivers, no request is above the quota.
const IN_FLIGHT: usize = 20;
const BURST: NonZeroU32 = NonZeroU32::new(16).unwrap();

#[derive(Clone, Debug)]
pub(crate) struct CourteousClient {
    base: String,
    http: Courteous<HttpClient>,
}

impl CourteousClient {
    pub(crate) fn new(server: SocketAddr) -> Result<Self, Box<dyn Error>> {
        // A key allows a POST to be sent again. So only a server that is known to honour keys may
        // get a key.
        let key = IdempotencyKeyLayer::new().with_hosts([server.to_string()])?;

        // The default budget, one retry to five successes, suits a server that works on most days.
        // On this batch's bad day, every eighth request fails. Hence one retry to two successes,
        // and fifty to begin with. An outage still ends the retries: with no success, at most fifty
        // are sent.
        let budget = Budget::builder()
            .deposit(0.5)
            .start(50)
            .cap(50, 100)
            .build()?;
        let retry = RetryLayer::new()
            .with_max_attempts(ATTEMPTS)?
            .with_budget(budget);

        // The rate that the documentation states: the quota is used up, and no request is wasted on
        // a 429.
        let rate = quota::DOCUMENTED.parse::<Rate>()?.with_burst(BURST);

        let stack = Stack::new()
            .with_idempotency_key(key)
            // No caller waits for a single charge of a batch, so late is better than never. Two
            // minutes leave room for all attempts, their backoffs, and a pause that the server may
            // ask for.
            .with_total_timeout(Duration::from_secs(120))
            .with_retry(retry)
            .with_concurrency_limit(ConcurrencyLimitLayer::per_origin(IN_FLIGHT)?)
            .with_throttle(ThrottleLayer::per_origin(rate))
            .with_attempt_timeout(ATTEMPT_TIMEOUT)
            .build()?;
        Ok(Self {
            base: format!("http://{server}"),
            http: stack.layer(http_client()),
        })
    }
}

impl Charge for CourteousClient {
    async fn charge(&self, customer: u32) -> Result<(), BoxError> {
        let response = self.http.send(request(&self.base, customer)?);
        receipt(response.await?).await
    }
}
