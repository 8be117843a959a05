//! What the layer costs a call that succeeds. This is the only test in this file, as allocations
//! are counted for the whole process.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

use std::{
    alloc::System,
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use courteous_core::{CallContext, CallRecord};
use courteous_dead_letter::{DeadLetterLayer, MemoryStore};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{Empty, Full};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, ServiceExt, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn request() -> Request<Full<Bytes>> {
    let uri = "https://api.example.com/charges";
    let body = Full::new(Bytes::from_static(b"amount=42"));
    let mut request = Request::post(uri).body(body).unwrap();
    let key = HeaderName::from_static("idempotency-key");
    request
        .headers_mut()
        .insert(key, HeaderValue::from_static("8e03978e"));
    // As the layers around and inside do. The first extension of a request alone costs three
    // allocations.
    CallContext::edit(request.extensions_mut());
    request
}

#[test]
fn a_call_that_succeeds_costs_four_allocations() {
    let server = service_fn(|request: Request<Full<Bytes>>| {
        // As a retry does.
        if let Some(record) = CallRecord::of(request.extensions()) {
            record.begin_attempt();
        }
        std::future::ready(Ok::<_, Infallible>(Response::new(Empty::new())))
    });
    let bare = count(server);
    let layer = DeadLetterLayer::new(MemoryStore::new());
    let layered = count(layer.layer(server));
    let filtered = count(layer.clone().with_filter(|_| false).layer(server));
    // The record and its place among the extensions; a copy of the header fields.
    assert_eq!((bare, layered, filtered), (0, 4, 0));
}

/// How many allocations a call costs, after everything that is made only once.
fn count<S>(service: S) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = Response<Empty<Bytes>>> + Clone,
{
    let mut counted = 0;
    for _ in 0..3 {
        let (service, request) = (service.clone(), request());
        let region = Region::new(ALLOCATOR);
        let outcome = now(service.oneshot(request));
        counted = region.change().allocations;
        assert!(outcome.is_ok());
    }
    counted
}

/// The output of a future that is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}
