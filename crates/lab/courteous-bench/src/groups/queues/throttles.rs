use std::{num::NonZeroU32, sync::Arc, time::Duration};

use courteous::throttle::{Rate, ThrottleLayer};
use governor::{Quota, RateLimiter};
use http::Request;
use leaky_bucket::RateLimiter as LeakyBucket;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tower::{Layer, Service, buffer::Buffer, limit::RateLimit, service_fn};
use tower_resilience_ratelimiter::RateLimiterLayer;

use super::{
    Contender, Pace,
    crowd::{Joins, joins},
    log::Recorder,
};
use crate::contenders::OURS;

const PER_MILLI: u32 = Pace::FAST.per_second / 1000;
const MILLI: Duration = Duration::from_millis(1);

pub(super) fn contenders() -> Vec<Contender> {
    let contender = |who, open| Contender { who, open };
    vec![
        contender(OURS, ours),
        contender("tokio's Semaphore, refilled by a task", semaphore),
        contender("tower: Buffer(1024) + RateLimit", tower),
        contender("tower-resilience, token bucket", resilience),
        contender("governor, `until_ready`", governor),
        contender("leaky-bucket, fair", leaky),
    ]
}

/// Tokens, the time in which they come back, and the burst.
const fn pace(parked: bool) -> (u32, Duration, u32) {
    match parked {
        true => (1, Pace::PARKED, 1),
        false => (PER_MILLI, MILLI, Pace::FAST.burst),
    }
}

fn nonzero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

fn ours(parked: bool, inner: Recorder) -> Joins {
    let (tokens, per, burst) = pace(parked);
    let rate = Rate::new(tokens, per).unwrap_or_else(|error| panic!("{error}"));
    let layer = ThrottleLayer::new(rate.with_burst(nonzero(burst)));
    joins(layer.layer(inner))
}

/// What one would write by hand: permits that are used up, and a task that returns the permits that
/// are due.
fn semaphore(parked: bool, inner: Recorder) -> Joins {
    let (_, _, burst) = pace(parked);
    let permits = Arc::new(Semaphore::new(burst as usize));
    if !parked {
        tokio::spawn(refill(Arc::clone(&permits)));
    }
    joins(service_fn(move |request: Request<u32>| {
        let (permits, mut inner) = (Arc::clone(&permits), inner.clone());
        async move {
            if let Ok(permit) = permits.acquire().await {
                permit.forget();
            }
            inner.call(request).await
        }
    }))
}

async fn refill(permits: Arc<Semaphore>) {
    let start = Instant::now();
    let mut given = 0;
    loop {
        sleep(MILLI).await;
        let due = start.elapsed().as_nanos() * u128::from(Pace::FAST.per_second) / 1_000_000_000;
        let due = due as usize;
        let room = (Pace::FAST.burst as usize).saturating_sub(permits.available_permits());
        permits.add_permits((due - given).min(room));
        given = due;
    }
}

fn tower(parked: bool, inner: Recorder) -> Joins {
    let rate = match parked {
        true => tower::limit::rate::Rate::new(1, Pace::PARKED),
        false => {
            tower::limit::rate::Rate::new(Pace::FAST.per_second.into(), Duration::from_secs(1))
        }
    };
    joins(Buffer::new(RateLimit::new(inner, rate), 1024))
}

fn resilience(parked: bool, inner: Recorder) -> Joins {
    let (tokens, per, burst) = pace(parked);
    // Its bucket holds the tokens of one period in addition to the burst.
    let layer = RateLimiterLayer::builder()
        .limit_for_period(tokens as usize)
        .refresh_period(per)
        .burst_size((burst - tokens) as usize)
        .timeout_duration(2 * Pace::PARKED)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    joins(layer.layer(inner))
}

fn governor(parked: bool, inner: Recorder) -> Joins {
    let quota = match parked {
        true => Quota::with_period(Pace::PARKED),
        false => Quota::with_period(MILLI / PER_MILLI),
    };
    let (_, _, burst) = pace(parked);
    let quota = quota.unwrap_or_else(|| panic!("a period of zero"));
    let limiter = Arc::new(RateLimiter::direct(quota.allow_burst(nonzero(burst))));
    joins(service_fn(move |request: Request<u32>| {
        let (limiter, mut inner) = (Arc::clone(&limiter), inner.clone());
        async move {
            limiter.until_ready().await;
            inner.call(request).await
        }
    }))
}

fn leaky(parked: bool, inner: Recorder) -> Joins {
    let (tokens, per, burst) = pace(parked);
    // It sleeps for each interval, and so loses much of the rate if intervals are short.
    let (tokens, per) = match parked {
        true => (tokens, per),
        false => (10 * tokens, 10 * per),
    };
    let limiter = LeakyBucket::builder()
        .max(burst as usize)
        .initial(burst as usize)
        .refill(tokens as usize)
        .interval(per)
        .fair(true)
        .build();
    let limiter = Arc::new(limiter);
    joins(service_fn(move |request: Request<u32>| {
        let (limiter, mut inner) = (Arc::clone(&limiter), inner.clone());
        async move {
            limiter.acquire_one().await;
            inner.call(request).await
        }
    }))
}
