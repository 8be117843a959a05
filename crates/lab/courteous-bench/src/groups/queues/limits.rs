use std::{num::NonZeroUsize, sync::Arc};

use courteous::concurrency::ConcurrencyLimitLayer;
use http::Request;
use tokio::sync::Semaphore;
use tower::{Layer, Service, limit::ConcurrencyLimit, service_fn};
use tower_resilience_bulkhead::BulkheadLayer;

use super::{
    Contender,
    crowd::{Joins, joins},
    log::{Answers, Recorder},
};
use crate::contenders::OURS;

/// How many calls may be in flight.
pub(super) const LIMIT: NonZeroUsize = NonZeroUsize::new(64).unwrap();

pub(super) fn contenders() -> Vec<Contender> {
    let contender = |who, open| Contender { who, open };
    vec![
        contender(OURS, ours),
        contender("tokio's Semaphore, by hand", semaphore),
        contender("tower", tower),
        contender("tower-resilience, bulkhead", resilience),
    ]
}

const fn answering(parked: bool, inner: Recorder) -> Recorder {
    inner.with_answers(match parked {
        true => Answers::Never,
        false => Answers::NextTurn,
    })
}

fn ours(parked: bool, inner: Recorder) -> Joins {
    let layer = ConcurrencyLimitLayer::from(LIMIT);
    joins(layer.layer(answering(parked, inner)))
}

fn semaphore(parked: bool, inner: Recorder) -> Joins {
    let permits = Arc::new(Semaphore::new(LIMIT.get()));
    let inner = answering(parked, inner);
    joins(service_fn(move |request: Request<u32>| {
        let (permits, mut inner) = (Arc::clone(&permits), inner.clone());
        async move {
            let _permit = permits.acquire().await;
            inner.call(request).await
        }
    }))
}

fn tower(parked: bool, inner: Recorder) -> Joins {
    joins(ConcurrencyLimit::new(answering(parked, inner), LIMIT.get()))
}

fn resilience(parked: bool, inner: Recorder) -> Joins {
    let layer = BulkheadLayer::builder()
        .max_concurrent_calls(LIMIT.get())
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    joins(layer.layer(answering(parked, inner)))
}
