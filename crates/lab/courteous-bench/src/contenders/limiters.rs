use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter};
use leaky_bucket::RateLimiter as LeakyBucket;
use tower::{Service, service_fn};

use super::{Kind, Visit, Who};
use crate::kit::Request;

/// Limiters that are not layers, with the least code that makes them layers.
pub(super) fn visit<V: Visit>(visit: &mut V) {
    visit.visit(Who::new(Kind::Throttle, "governor, by hand"), |inner| {
        let quota = Quota::per_second(RATE);
        let limiter = Arc::new(RateLimiter::direct(quota));
        service_fn(move |request: Request| {
            let (limiter, mut inner): (_, V::Client) = (Arc::clone(&limiter), inner.clone());
            async move {
                limiter.until_ready().await;
                inner.call(request).await
            }
        })
    });
    visit.visit(Who::new(Kind::Throttle, "leaky-bucket, by hand"), |inner| {
        let limiter = LeakyBucket::builder()
            .max(PLENTY)
            .initial(PLENTY)
            .refill(100_000)
            .interval(Duration::from_millis(1))
            .build();
        let limiter = Arc::new(limiter);
        service_fn(move |request: Request| {
            let (limiter, mut inner): (_, V::Client) = (Arc::clone(&limiter), inner.clone());
            async move {
                limiter.acquire_one().await;
                inner.call(request).await
            }
        })
    });
}

const RATE: NonZeroU32 = NonZeroU32::new(100_000_000).unwrap();
const PLENTY: usize = 1_000_000_000;
