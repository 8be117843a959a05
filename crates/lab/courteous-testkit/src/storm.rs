use std::{future::poll_fn, time::Duration};

use courteous_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    task::{JoinSet, LocalSet},
    time::{sleep, timeout},
};
use tower_service::Service;

use crate::{Chance, PATIENCE, Task};

/// Many calls over clones of one service, a part of which is dropped at random points: reproducible by its seed.
///
/// Run it on a paused clock. Each call starts at a random instant, and is then either carried through to the last byte of
/// the response, or dropped: unpolled, after some polls, at some instant, or with the response body unread or half read.
/// It is polled only when it was woken. Afterwards, what the layers hold must read as before.
#[derive(Clone, Debug)]
pub struct Storm {
    calls: usize,
    seed: u64,
    window: Duration,
    patience: Duration,
}

/// The outcome of the calls of a [`Storm`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calm {
    /// Calls whose response was read to its end.
    pub finished: usize,
    /// Calls that failed, or whose response body did.
    pub failed: usize,
    /// Response futures that were dropped before they resolved.
    pub dropped: usize,
    /// Response bodies that were dropped before their end.
    pub dropped_bodies: usize,
}

enum DropPoint {
    Carried,
    AfterPolls(usize),
    After(Duration),
    Body(usize),
}

enum End {
    Finished,
    Failed,
    Dropped,
    DroppedBody,
}

impl Storm {
    /// So many calls, all starting within one second, dropped after up to two.
    #[must_use]
    pub const fn new(calls: usize, seed: u64) -> Self {
        Self {
            calls,
            seed,
            window: Duration::from_secs(1),
            patience: Duration::from_secs(2),
        }
    }

    /// Spreads the starts over `window`.
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Drops a call that is dropped at an instant after up to `patience`.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Makes the calls, with `request` for each number from 0, and ends when all are over.
    ///
    /// Panics if a call is never woken, or does not end within [`PATIENCE`].
    pub async fn run<S, B, R>(
        &self,
        service: &S,
        mut request: impl FnMut(usize) -> Request<B>,
    ) -> Calm
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + 'static,
        S::Error: Into<BoxError>,
        B: 'static,
        R: Body + 'static,
    {
        let mut chance = Chance::new(self.seed);
        let local = LocalSet::new();
        let mut calls = JoinSet::new();
        for number in 0..self.calls {
            let (start, drop_point) = (chance.time(self.window), self.drop_point(&mut chance));
            let (service, request) = (service.clone(), request(number));
            let call = async move {
                sleep(start).await;
                drop_point.run(service, request).await
            };
            calls.spawn_local_on(call, &local);
        }
        let mut calm = Calm::default();
        local
            .run_until(async {
                while let Some(end) = calls.join_next().await {
                    match end.expect("a call panicked") {
                        End::Finished => calm.finished += 1,
                        End::Failed => calm.failed += 1,
                        End::Dropped => calm.dropped += 1,
                        End::DroppedBody => calm.dropped_bodies += 1,
                    }
                }
            })
            .await;
        calm
    }

    fn drop_point(&self, chance: &mut Chance) -> DropPoint {
        match chance.below(5) {
            0 | 1 => DropPoint::Carried,
            2 => DropPoint::AfterPolls(usize::try_from(chance.below(8)).unwrap_or(0)),
            3 => DropPoint::After(chance.time(self.patience)),
            _ => DropPoint::Body(usize::try_from(chance.below(3)).unwrap_or(0)),
        }
    }
}

impl DropPoint {
    async fn run<S, B, R>(self, mut service: S, request: Request<B>) -> End
    where
        S: Service<Request<B>, Response = Response<R>>,
        S::Error: Into<BoxError>,
        R: Body,
    {
        let carried = async {
            if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
                return End::Failed;
            }
            let Ok(response) = Task::new(service.call(request)).finish().await else {
                return End::Failed;
            };
            let mut body = Box::pin(response.into_body());
            let mut frames = 0;
            loop {
                if matches!(self, Self::Body(limit) if limit == frames) && !body.is_end_stream() {
                    return End::DroppedBody;
                }
                match body.frame().await {
                    None => return End::Finished,
                    Some(Ok(_)) => frames += 1,
                    Some(Err(_)) => return End::Failed,
                }
            }
        };
        match self {
            Self::Carried | Self::Body(_) => timeout(PATIENCE, carried)
                .await
                .expect("a call does not end"),
            Self::After(instant) => timeout(instant, carried).await.unwrap_or(End::Dropped),
            Self::AfterPolls(polls) => {
                let mut task = Task::new(carried);
                while task.polls() < polls {
                    task.woken().await;
                    if let std::task::Poll::Ready(end) = task.poll() {
                        return end;
                    }
                }
                End::Dropped
            }
        }
    }
}
