//! How long a call is in flight, and what its response body passes through.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn, ready},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use common::{call, request};
use courteous_concurrency::{ConcurrencyLimitLayer, HoldUntil, Limiter, PermitBody};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Frames, in turn. The end is reported only when it is asked for, unless the frames report it.
#[derive(Debug, Default)]
struct Script {
    frames: Vec<Result<Frame<Bytes>, io::ErrorKind>>,
    tells_its_end: bool,
}

impl Script {
    fn new(frames: impl IntoIterator<Item = Result<Frame<Bytes>, io::ErrorKind>>) -> Self {
        let mut frames: Vec<_> = frames.into_iter().collect();
        frames.reverse();
        Self {
            frames,
            tells_its_end: false,
        }
    }

    fn telling(mut self) -> Self {
        self.tells_its_end = true;
        self
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::ErrorKind;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::ErrorKind>>> {
        Poll::Ready(self.frames.pop())
    }

    fn is_end_stream(&self) -> bool {
        self.tells_its_end && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(7)
    }
}

fn data(data: &'static [u8]) -> Result<Frame<Bytes>, io::ErrorKind> {
    Ok(Frame::data(Bytes::from_static(data)))
}

/// The body of an answered call, and the limiter that counts it.
fn answered<B: Body>(body: B, hold: HoldUntil) -> (PermitBody<B>, Limiter) {
    let limiter = Limiter::new(3).unwrap();
    let mut body = Some(body);
    let service = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(body.take().unwrap()))));
    let layer = ConcurrencyLimitLayer::from(limiter.clone()).hold_until(hold);
    // `service_fn` with state is not `Clone`; a cell makes it `Clone`.
    let service = std::rc::Rc::new(std::cell::RefCell::new(service));
    let mut limited = layer.layer(service_fn(move |request| {
        service.borrow_mut().call(request)
    }));
    let response = assert_ready_ok!(call(&mut limited).poll());
    (response.into_body(), limiter)
}

#[tokio::test]
async fn a_body_that_tells_its_end_gives_the_permit_back_with_its_last_frame() {
    let script = Script::new([data(b"one"), data(b"two")]).telling();
    let (mut body, limiter) = answered(script, HoldUntil::Body);
    assert_eq!(limiter.in_flight(), 1);
    body.frame().await.unwrap().unwrap();
    assert_eq!(limiter.in_flight(), 1);
    body.frame().await.unwrap().unwrap();
    assert_eq!(limiter.in_flight(), 0);
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn a_body_that_does_not_tell_its_end_gives_the_permit_back_when_asked_for_more() {
    let (mut body, limiter) = answered(Script::new([data(b"one")]), HoldUntil::Body);
    body.frame().await.unwrap().unwrap();
    assert_eq!(limiter.in_flight(), 1);
    assert!(body.frame().await.is_none());
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test]
async fn a_body_that_fails_gives_the_permit_back() {
    let script = Script::new([data(b"one"), Err(io::ErrorKind::ConnectionReset)]);
    let (mut body, limiter) = answered(script, HoldUntil::Body);
    body.frame().await.unwrap().unwrap();
    let error: io::ErrorKind = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error, io::ErrorKind::ConnectionReset);
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test]
async fn a_body_that_is_dropped_gives_the_permit_back() {
    let (mut body, limiter) = answered(Script::new([data(b"one"), data(b"two")]), HoldUntil::Body);
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(limiter.in_flight(), 0);
    let (body, limiter) = answered(Full::new(Bytes::from_static(b"unread")), HoldUntil::Body);
    assert_eq!(limiter.in_flight(), 1);
    assert_eq!(body.get_ref().size_hint().exact(), Some(6));
    drop(body.into_inner());
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn an_empty_body_never_holds_the_permit() {
    let (_body, limiter) = answered(Empty::<Bytes>::new(), HoldUntil::Body);
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn with_headers_the_permit_is_back_when_the_head_is_there() {
    let (_body, limiter) = answered(Script::new([data(b"one")]), HoldUntil::Headers);
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test]
async fn trailers_size_and_end_come_through() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let script = Script::new([data(b"one"), Ok(Frame::trailers(trailers.clone()))]).telling();
    let (mut body, limiter) = answered(script, HoldUntil::Body);
    assert_eq!(body.size_hint().exact(), Some(7));
    assert!(!body.is_end_stream());
    body.frame().await.unwrap().unwrap();
    assert_eq!(limiter.in_flight(), 1);
    let last = body.frame().await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap(), trailers);
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn the_body_is_unpin_default_and_send_if_the_inner_one_is() {
    fn check<B: Unpin + Default + Send + Sync>() {}
    check::<PermitBody<Full<Bytes>>>();
    assert!(PermitBody::<Empty<Bytes>>::default().is_end_stream());
}

#[tokio::test]
async fn a_future_that_ended_holds_nothing_though_it_is_kept() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(common::Echo);
    let mut kept = call(&mut service);
    drop(assert_ready_ok!(kept.poll()));
    assert_eq!(limiter.in_flight(), 0);
    assert_ready_ok!(call(&mut service).poll());
    assert_pending!(kept.poll());
}

#[tokio::test]
async fn a_call_that_fails_gives_the_permit_back() {
    let limiter = Limiter::new(1).unwrap();
    let inner = service_fn(|_| ready(Err::<Response<Empty<Bytes>>, _>(io::Error::other("inner"))));
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(inner);
    let mut kept = call(&mut service);
    let error = assert_ready_err!(kept.poll());
    assert_eq!(
        error.downcast_ref::<io::Error>().unwrap().to_string(),
        "inner"
    );
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test]
async fn a_call_that_panics_gives_the_permit_back() {
    let limiter = Limiter::new(1).unwrap();
    let inner = service_fn(|request: http::Request<()>| {
        assert!(request.headers().is_empty(), "in the call");
        poll_fn(|_| -> Poll<Result<Response<Empty<Bytes>>, Infallible>> { panic!("in the future") })
    });
    let layer = ConcurrencyLimitLayer::from(limiter.clone());
    let service = layer.layer(inner);
    let spawned = service.clone();
    assert!(tokio::spawn(spawned.oneshot(request())).await.is_err());
    assert_eq!(limiter.in_flight(), 0);
    let mut bad = request();
    bad.headers_mut().insert("x", HeaderValue::from_static("y"));
    assert!(
        tokio::spawn(service.clone().oneshot(bad.clone()))
            .await
            .is_err()
    );
    assert_eq!(limiter.in_flight(), 0);

    // Also if the call had to wait before.
    let held = layer.layer(common::Echo).oneshot(request()).await.unwrap();
    let waiting = tokio::spawn(service.oneshot(bad));
    tokio::task::yield_now().await;
    assert_eq!(limiter.waiting(), 1);
    drop(held);
    assert!(waiting.await.is_err());
    assert_eq!((limiter.in_flight(), limiter.waiting()), (0, 0));
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_the_permit_back_after_the_call_has_ended() {
    struct Probe(Limiter);
    impl Drop for Probe {
        fn drop(&mut self) {
            assert_eq!(self.0.in_flight(), 1);
        }
    }
    let limiter = Limiter::new(1).unwrap();
    let probed = limiter.clone();
    let inner = service_fn(move |_: http::Request<()>| {
        let probe = Probe(probed.clone());
        async move {
            let _probe = probe;
            pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
        }
    });
    let mut service = ConcurrencyLimitLayer::from(limiter.clone()).layer(inner);
    let mut running = call(&mut service);
    assert_pending!(running.poll());
    assert_eq!(limiter.in_flight(), 1);
    drop(running);
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn a_waiter_takes_the_permit_of_a_body() {
    let limiter = Limiter::new(1).unwrap();
    let mut service = ConcurrencyLimitLayer::from(limiter).layer(common::Echo);
    let body = assert_ready_ok!(call(&mut service).poll()).into_body();
    let mut waiting = call(&mut service);
    assert_pending!(waiting.poll());
    let mut body = pin!(body);
    let mut frame = task::spawn(poll_fn(move |cx| body.as_mut().poll_frame(cx)));
    assert!(assert_ready!(frame.poll()).is_some());
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
}

#[test]
fn the_response_future_is_send_if_the_inner_one_is() {
    fn check<T: Send>(_: &T) {}
    let mut service = ConcurrencyLimitLayer::new(1).unwrap().layer(common::Echo);
    let future = service.call(request());
    check(&future);
    fn is_future<T: Future>(_: &T) {}
    is_future(&future);
}
