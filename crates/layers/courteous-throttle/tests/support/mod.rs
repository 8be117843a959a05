//! What the tests of the throttle share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test crate uses a part"
)]

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    num::NonZeroU32,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use courteous_core::CallContext;
use http::{Request, Response};
use tokio::time::Instant;
use tower::Service;

pub const fn sec(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A request whose path is its number.
pub fn request(id: u32) -> Request<()> {
    Request::builder()
        .uri(format!("http://example.test/{id}"))
        .body(())
        .unwrap()
}

/// A request of a retry.
pub fn retried(id: u32, attempt: u32) -> Request<()> {
    let mut request = request(id);
    CallContext::edit(request.extensions_mut()).set_attempt(NonZeroU32::new(attempt).unwrap());
    request
}

/// Calls a service that is always ready, at once. So the order of these calls is the order of the
/// queue.
pub fn ready_call<S>(service: &mut S, request: Request<()>) -> S::Future
where
    S: Service<Request<()>>,
{
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    service.call(request)
}

/// A service that remembers when each request was sent. It answers as it was told, and otherwise
/// with an empty 200.
#[derive(Clone, Debug, Default)]
pub struct Sends {
    all: Arc<Mutex<Vec<(u32, Instant)>>>,
    answers: Arc<Mutex<VecDeque<Response<()>>>>,
}

impl Sends {
    /// The number of each request and when it was sent.
    pub fn all(&self) -> Vec<(u32, Instant)> {
        self.all.lock().unwrap().clone()
    }

    /// Answers the next request with this response.
    pub fn answer(&self, status: u16, headers: &[(&'static str, &str)]) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        self.answers
            .lock()
            .unwrap()
            .push_back(response.body(()).unwrap());
    }

    /// Checks that no window holds more than `burst + rate * window`.
    pub fn assert_bound(&self, burst: u32, rate: f64) {
        let times: Vec<_> = self.all().iter().map(|(_, at)| *at).collect();
        assert_bound(
            &times.iter().map(|at| (*at, 1)).collect::<Vec<_>>(),
            burst,
            rate,
        );
    }
}

/// Checks that no window holds more than `burst + rate * window`.
///
/// With `s(i)` the cost of all sends before the `i`-th, the bound on the window from `i` to `j` is
/// `s(j + 1) - rate * t(j) <= burst + s(i) - rate * t(i)`. So only the least right side so far is
/// needed.
pub fn assert_bound(sends: &[(Instant, u32)], burst: u32, rate: f64) {
    let Some(&(start, _)) = sends.first() else {
        return;
    };
    let (mut sum, mut least) = (0.0, f64::INFINITY);
    for &(at, cost) in sends {
        let earned = (at - start).as_secs_f64() * rate;
        least = least.min(sum - earned);
        sum += f64::from(cost);
        assert!(
            sum - earned <= f64::from(burst) + least + 1e-3,
            "too many sends before {:?}",
            at - start
        );
    }
}

impl Service<Request<()>> for Sends {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let id = request.uri().path()[1..].parse().unwrap_or(u32::MAX);
        self.all.lock().unwrap().push((id, Instant::now()));
        let answer = self.answers.lock().unwrap().pop_front();
        ready(Ok(answer.unwrap_or_default()))
    }
}
