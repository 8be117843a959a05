use std::{error::Error, time::Duration};

use courteous_core::{BoxError, find_cause};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use tower_layer::Layer;

use super::{
    Client, Subject,
    subject::{Marker, paused, ready, request, send, succeed},
};
use crate::{Probe, ProbeError, Reply, Task, TestBody};

/// Each of several calls in turn, on one service and on its clones, reaches an inner instance that was polled ready for it.
pub fn it_calls_the_instance_that_it_polled<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    for pending in [0, 1, 3] {
        let subject = make();
        let probe = Probe::new().pending_polls(pending);
        let mut service = subject.service(&probe);
        paused(async {
            for _ in 0..3 {
                succeed(&mut service).await;
                let mut clone = service.clone();
                ready(&mut service).await.unwrap();
                succeed(&mut clone).await;
            }
        });
        assert_eq!(probe.calls(), 6);
    }
}

/// As many attempts as the layer makes, each of them the same request, each on an instance that was polled ready for it.
pub fn every_attempt_is_readied_afresh<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    for (polls, pause) in [(0, 0), (1, 0), (2, 7)] {
        let subject = make();
        let probe = Probe::new()
            .reading_bodies()
            .pending_polls(polls)
            .pending_for(Duration::from_millis(pause));
        subject.fail_first(&probe);
        let mut service = subject.service(&probe);
        paused(succeed(&mut service));
        let seen = probe.seen();
        assert_eq!(seen.len(), subject.attempts, "attempts");
        for attempt in &seen {
            assert_eq!(attempt.method, seen[0].method);
            assert_eq!(attempt.uri, seen[0].uri);
            assert_eq!(attempt.version, seen[0].version);
            assert_eq!(attempt.headers, seen[0].headers);
            assert_eq!(attempt.body, seen[0].body);
            let marker = attempt.extensions.get::<Marker>();
            assert_eq!(marker, Some(&Marker("the caller's")));
        }
    }
}

/// The inner service's `poll_ready` error, at the first attempt or at a later one, is the result or its innermost cause.
pub fn an_inner_readiness_error_comes_through<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    let subject = make();
    let probe = Probe::new();
    probe.break_readiness();
    let mut service = subject.service(&probe);
    let error = paused(async { send(&mut service).await.err() });
    assert_innermost(error, ProbeError::Readiness);
    subject.assert_nothing_held(&probe, &"after a readiness error");

    if subject.after_failure {
        let subject = make();
        let probe = Probe::new();
        subject.fail_first(&probe);
        let mut service = subject.service(&probe);
        let error = paused(async {
            let mut call = Task::new(send(&mut service));
            assert!(call.settle().await.is_pending());
            probe.break_readiness();
            call.finish().await.err()
        });
        assert_innermost(error, ProbeError::Readiness);
        assert_eq!(probe.calls(), 1);
        subject.assert_nothing_held(&probe, &"after a readiness error at an attempt");
    }
}

/// The inner call's error is the result, or its innermost cause, and the next call succeeds.
pub fn an_inner_call_error_comes_through<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    for attempts in [1, 100] {
        let subject = make();
        let probe = Probe::new();
        // One failure may be made up for, all of them cannot be.
        probe.script((0..attempts).map(|_| Reply::error()));
        let mut service = subject.service(&probe);
        paused(async {
            match send(&mut service).await {
                Ok(response) => {
                    assert!(subject.after_failure && attempts == 1 && probe.calls() > 1);
                    drop(response);
                }
                Err(error) => assert_innermost(Some(error), ProbeError::Call),
            }
            subject.assert_nothing_held(&probe, &"after a call error");
        });
    }
    let subject = make();
    let probe = Probe::new().replies([Reply::error()]);
    let mut service = subject.service(&probe);
    paused(async {
        let _ = send(&mut service).await;
        succeed(&mut service).await;
    });
}

fn assert_innermost(error: Option<BoxError>, expected: ProbeError) {
    let error = error.expect("the inner service's error");
    assert_eq!(find_cause::<ProbeError>(&*error), Some(&expected));
    let mut innermost: &(dyn Error + 'static) = &*error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    assert_eq!(innermost.downcast_ref(), Some(&expected));
}

/// Method, URI, version, body, and the caller's header fields and extensions arrive as they were sent. A layer may add
/// fields and extensions.
pub fn the_request_comes_through_unchanged<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    let subject = make();
    let probe = Probe::new().reading_bodies();
    paused(succeed(&mut subject.service(&probe)));
    let seen = &probe.seen()[0];
    let sent = request();
    assert_eq!(seen.method, *sent.method());
    assert_eq!(seen.uri, *sent.uri());
    assert_eq!(seen.version, sent.version());
    for name in sent.headers().keys() {
        let of = |headers: &HeaderMap| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(of(&seen.headers), of(sent.headers()), "{name}");
    }
    let marker = seen.extensions.get::<Marker>();
    assert_eq!(marker, Some(&Marker("the caller's")));
    assert_eq!(seen.body.data, b"the request's body");
    assert!(seen.body.ended && seen.body.error.is_none());
}

/// Status, version, header fields, and the body with its frames, size, end, trailers and error arrive as they were sent.
pub fn the_response_comes_through_unchanged<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer", HeaderValue::from_static("last"));
    let pause = Duration::from_millis(1);
    let body = TestBody::new().chunk("three").pause(pause).chunk("frames");
    let mut response = Response::new(body.trailers(trailers.clone()));
    *response.status_mut() = StatusCode::IM_A_TEAPOT;
    *response.version_mut() = Version::HTTP_2;
    response
        .headers_mut()
        .insert("x-server", HeaderValue::from_static("value"));
    response.extensions_mut().insert(Marker("the server's"));

    let empty = Reply::ok();
    let failing = Reply::ok().body(TestBody::new().chunk("some").fail(ProbeError::Call));
    let subject = make();
    let probe = Probe::new().replies([Reply::response(response), empty, failing]);
    let mut service = subject.service(&probe);
    paused(async {
        let mut response = send(&mut service).await.unwrap();
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(response.headers().len(), 1);
        assert_eq!(response.headers()["x-server"], "value");
        let marker = response.extensions().get::<Marker>();
        assert_eq!(marker, Some(&Marker("the server's")));
        let body = response.body_mut();
        assert_eq!(body.size_hint().exact(), Some(11));
        assert!(!body.is_end_stream());
        assert_eq!(data(body).await, "three");
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(data(body).await, "frames");
        let last = body.frame().await.unwrap().map_err(Into::into).unwrap();
        assert_eq!(last.into_trailers().ok(), Some(trailers));
        assert!(body.frame().await.is_none());
        assert!(body.is_end_stream());
        drop(response);

        let empty = send(&mut service).await.unwrap();
        assert!(empty.body().is_end_stream(), "an empty body is at its end");
        assert_eq!(empty.body().size_hint().exact(), Some(0));
        drop(empty);

        let mut failing = send(&mut service).await.unwrap();
        assert_eq!(data(failing.body_mut()).await, "some");
        let error = failing.body_mut().frame().await.unwrap().err();
        assert_innermost(error.map(Into::into), ProbeError::Call);
        drop(failing);
        subject.assert_nothing_held(&probe, &"after a body that failed");
    });
}

async fn data<B>(body: &mut B) -> bytes::Bytes
where
    B: Body<Data = bytes::Bytes, Error: Into<BoxError>> + Unpin,
{
    let frame = body.frame().await.expect("a frame").map_err(Into::into);
    frame.unwrap().into_data().expect("data")
}
