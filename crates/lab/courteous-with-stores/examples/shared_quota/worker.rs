//! A worker: a process that calls the server through the shared throttle.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    process::ExitCode,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use courteous_core::{Rejected, find_cause};
use courteous_test_servers::machine_clock;
use courteous_testkit::Chance;
use courteous_throttle::ThrottleLayer;
use courteous_throttle_redis::{Redis, RedisBucket};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{task::JoinSet, time::sleep};
use tower::{Layer, Service, ServiceExt};

use crate::{Args, Outcome, Role, server::SENT};

/// This many calls at once, if the worker sends as much as the throttle allows.
const CALLS: usize = 16;

/// Runs until it is killed.
pub(crate) async fn run(role: &Role, args: &Args) -> Outcome<ExitCode> {
    let Role::Worker {
        redis,
        number,
        server,
        key,
    } = role;
    let bucket = RedisBucket::new(&Redis::open(redis)?, key, args.quota());
    let client = Client::builder(TokioExecutor::new()).build_http();
    let service = ThrottleLayer::of(bucket).layer(Stamp {
        inner: client,
        worker: *number,
    });
    let uri = format!("http://{server}/");
    let mut calls = JoinSet::new();
    if let Some(gap) = args.gap() {
        // Calls that are independent of each other.
        let mut chance = Chance::new(*number as u64);
        loop {
            let chance = (chance.bits() as f64 + 1.0) / 2.0_f64.powi(64);
            sleep(gap.mul_f64(-chance.ln())).await;
            calls.spawn(call(service.clone(), uri.clone()));
            while let Some(called) = calls.try_join_next() {
                called??;
            }
        }
    }
    for _ in 0..CALLS {
        calls.spawn(call(service.clone(), uri.clone()));
    }
    while let Some(called) = calls.join_next().await {
        called??;
        calls.spawn(call(service.clone(), uri.clone()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Calls the server once. If the call is rejected, waits a little.
async fn call<S, B>(service: S, uri: String) -> Outcome<()>
where
    S: Service<Request<Empty<Bytes>>, Response = http::Response<B>>,
    S::Error: Into<courteous_core::BoxError>,
    B: http_body::Body<Error: Into<courteous_core::BoxError>>,
{
    let mut request = Request::get(&uri).body(Empty::new())?;
    request.extensions_mut().insert(Asked(machine_clock()));
    let mut sent = pin!(service.oneshot(request));
    let response = poll_fn(|cx| {
        AFTER.set(machine_clock());
        sent.as_mut().poll(cx)
    });
    let response = match response.await.map_err(Into::into) {
        // Redis is away. The worker survives that.
        Err(error) if find_cause::<Rejected>(&*error).is_some() => {
            sleep(Duration::from_millis(50)).await;
            return Ok(());
        }
        response => response?,
    };
    response.into_body().collect().await.map_err(Into::into)?;
    Ok(())
}

thread_local! {
    /// When the poll began in which a request may be sent.
    static AFTER: Cell<u64> = const { Cell::new(0) };
}

/// When the throttle was asked.
#[derive(Clone, Copy, Debug)]
struct Asked(u64);

/// A layer between the throttle and the client. It writes on each request when the request was
/// sent.
#[derive(Clone, Debug)]
struct Stamp<S> {
    inner: S,
    worker: usize,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Stamp<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let (after, by) = (AFTER.get(), machine_clock());
        let asked = request.extensions().get().map_or(after, |Asked(at)| *at);
        let sent = format!("{} {asked} {after} {by}", self.worker);
        if let Ok(sent) = HeaderValue::try_from(sent) {
            request.headers_mut().insert(SENT, sent);
        }
        self.inner.call(request)
    }
}
