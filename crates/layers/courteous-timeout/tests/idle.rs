//! What an idle timeout promises.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{convert::Infallible, future::ready, time::Duration};

use common::{Bytes, Drip, MS, SECOND, elapsed, request};
use courteous_core::{BoxError, CallContext, LongLived, Scope, Upload};
use courteous_timeout::{
    AttemptTimeoutLayer, Coverage, DeadlineBody, IdleTimeout, TotalTimeoutLayer,
};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};

const DOT: Bytes = b".";

/// The body that answers `request`, through `layer`: `body`, at once.
async fn through(
    layer: AttemptTimeoutLayer,
    request: Request<Full<Bytes>>,
    body: fn() -> Drip,
) -> DeadlineBody<Drip> {
    let service = layer.layer(service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(body()))
    }));
    service.oneshot(request).await.unwrap().into_body()
}

/// Reads `body` to its end, and returns how many frames came.
async fn read<B: Body<Error = BoxError> + Unpin>(mut body: B) -> Result<usize, BoxError> {
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        frame?;
        frames += 1;
    }
    Ok(frames)
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_minutes_passes_an_attempt_timeout_of_seconds() {
    let layer = AttemptTimeoutLayer::new(3 * SECOND).with_idle_timeout(1500 * MS);
    let body = through(layer, request(), || Drip::each_second(600)).await;
    assert_eq!(read(body).await.unwrap(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_fails_after_the_idle_timeout() {
    let frames = || {
        Drip::new([
            (SECOND, Frame::data(DOT)),
            (2 * SECOND, Frame::data(DOT)),
            (60 * SECOND, Frame::data(DOT)),
        ])
    };
    let layer = AttemptTimeoutLayer::new(3 * SECOND).with_idle_timeout(10 * SECOND);
    let start = Instant::now();
    let mut body = through(layer, request(), frames).await;
    body.frame().await.unwrap().unwrap();
    body.frame().await.unwrap().unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(elapsed(&error), (10 * SECOND, Scope::Idle));
    assert_eq!(start.elapsed(), 12 * SECOND);
    assert!(body.is_end_stream() && body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_begins_fails_after_the_idle_timeout() {
    let layer = AttemptTimeoutLayer::new(3 * SECOND).with_idle_timeout(10 * SECOND);
    let start = Instant::now();
    let late = || Drip::new([(60 * SECOND, Frame::data(DOT))]);
    let error = read(through(layer, request(), late).await)
        .await
        .unwrap_err();
    assert_eq!(elapsed(&error), (10 * SECOND, Scope::Idle));
    assert_eq!(start.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_idle_timeout_by_default() {
    let layer = AttemptTimeoutLayer::new(SECOND);
    let late = || Drip::new([(3600 * SECOND, Frame::data(DOT))]);
    assert_eq!(layer.idle_timeout(), None);
    assert_eq!(
        read(through(layer, request(), late).await).await.unwrap(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_slow_to_read_is_not_the_servers_silence() {
    let layer = AttemptTimeoutLayer::new(3 * SECOND).with_idle_timeout(2 * SECOND);
    let mut body = through(layer, request(), || {
        Drip::new([
            (SECOND, Frame::data(DOT)),
            (61_500 * MS, Frame::data(DOT)),
            (62 * SECOND, Frame::data(DOT)),
        ])
    })
    .await;
    body.frame().await.unwrap().unwrap();
    // The caller is busy with the first frame for a minute. The second one comes 500 ms after it asks for it.
    sleep(60 * SECOND).await;
    body.frame().await.unwrap().unwrap();
    body.frame().await.unwrap().unwrap();
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_here_after_the_idle_timeout_is_still_a_frame() {
    let layer = AttemptTimeoutLayer::new(3 * SECOND).with_idle_timeout(2 * SECOND);
    let body = through(layer, request(), || Drip::new([(SECOND, Frame::data(DOT))])).await;
    let mut body = task::spawn(body);
    assert_pending!(body.enter(|cx, body| body.poll_frame(cx)));
    sleep(60 * SECOND).await;
    let frame = assert_ready!(body.enter(|cx, body| body.poll_frame(cx)));
    frame.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_can_say_how_long_its_body_may_be_silent() {
    let layer = AttemptTimeoutLayer::new(3 * SECOND).with_idle_timeout(10 * SECOND);
    let late = || Drip::new([(30 * SECOND, Frame::data(DOT))]);
    for (own, ends) in [
        (SECOND, Some(SECOND)),
        (60 * SECOND, None),
        (Duration::MAX, None),
    ] {
        let mut request = request();
        request.extensions_mut().insert(IdleTimeout(own));
        let start = Instant::now();
        let result = read(through(layer.clone(), request, late).await).await;
        match ends {
            Some(end) => {
                assert_eq!(elapsed(&result.unwrap_err()), (own, Scope::Idle));
                assert_eq!(start.elapsed(), end);
            }
            None => assert_eq!(result.unwrap(), 1),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_goes_on_is_not_the_servers_silence() {
    let layer = AttemptTimeoutLayer::new(3 * SECOND).with_idle_timeout(2 * SECOND);
    let upload = Upload::new();
    let mut request = request();
    request.extensions_mut().insert(upload.clone());
    let body = through(layer, request, || {
        Drip::new([(60 * SECOND, Frame::data(DOT))])
    })
    .await;
    let start = Instant::now();
    let uploading = async {
        for _ in 0..10 {
            sleep(SECOND).await;
            upload.advance(1);
        }
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        result = read(body) => result.unwrap_err(),
        () = uploading => unreachable!(),
    };
    assert_eq!(elapsed(&error), (2 * SECOND, Scope::Idle));
    assert_eq!(start.elapsed(), 12 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_attempt_comes_first_if_it_is_earlier() {
    let layer = AttemptTimeoutLayer::new(5500 * MS)
        .with_coverage(Coverage::Body)
        .with_idle_timeout(1500 * MS);
    let start = Instant::now();
    let body = through(layer, request(), || Drip::each_second(60)).await;
    let error = read(body).await.unwrap_err();
    assert_eq!(elapsed(&error), (5500 * MS, Scope::Attempt));
    assert_eq!(start.elapsed(), 5500 * MS);
}

/// A body of one minute, through both timeouts; and what a server is told of them.
async fn minute(
    total: Coverage,
    ask: fn(&mut http::Extensions),
) -> (Result<usize, (Duration, Scope)>, Option<String>) {
    let told = std::sync::Mutex::new(None);
    let attempt = AttemptTimeoutLayer::new(SECOND).with_grpc_timeout();
    let server = service_fn(|request: Request<Full<Bytes>>| {
        let header = request.headers().get("grpc-timeout");
        *told.lock().unwrap() = header.map(|value| value.to_str().unwrap().to_owned());
        ready(Ok::<_, Infallible>(Response::new(Drip::each_second(60))))
    });
    let total = TotalTimeoutLayer::new(5500 * MS).with_coverage(total);
    let service = total.layer(attempt.layer(server));
    let mut request = request();
    ask(request.extensions_mut());
    let body = service.oneshot(request).await.unwrap().into_body();
    let result = read(body).await.map_err(|error| elapsed(&error));
    let told = told.lock().unwrap().take();
    (result, told)
}

#[tokio::test(start_paused = true)]
async fn a_request_can_say_how_far_its_total_timeout_reaches() {
    let cut = Err((5500 * MS, Scope::Total));
    let told = Some("1000000u".to_owned());
    let whole = (Ok(60), None);
    assert_eq!(minute(Coverage::Body, |_| {}).await, (cut, told.clone()));
    let headers = |extensions: &mut http::Extensions| {
        extensions.insert(Coverage::Headers);
    };
    assert_eq!(minute(Coverage::Body, headers).await, whole);
    let body = |extensions: &mut http::Extensions| {
        extensions.insert(Coverage::Body);
    };
    assert_eq!(minute(Coverage::Headers, body).await, (cut, told));
    let long_lived = |extensions: &mut http::Extensions| {
        extensions.insert(LongLived);
    };
    assert_eq!(minute(Coverage::Body, long_lived).await, whole);
    let both = |extensions: &mut http::Extensions| {
        extensions.insert(LongLived);
        extensions.insert(Coverage::Body);
    };
    assert_eq!(minute(Coverage::Body, both).await.0, cut);
}

#[tokio::test(start_paused = true)]
async fn a_request_can_shorten_how_far_an_attempt_timeout_reaches_but_not_lengthen_it() {
    for (own, asked, ends) in [
        (Coverage::Body, Coverage::Headers, false),
        (Coverage::Body, Coverage::Body, true),
        (Coverage::Headers, Coverage::Body, false),
    ] {
        let layer = AttemptTimeoutLayer::new(2500 * MS).with_coverage(own);
        let mut request = request();
        request.extensions_mut().insert(asked);
        let _ = CallContext::edit(request.extensions_mut());
        let result = read(through(layer, request, || Drip::each_second(60)).await).await;
        assert_eq!(result.is_err(), ends, "{own:?}, {asked:?}");
    }
}
