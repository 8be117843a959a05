use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use courteous_body::AnyBody;
use courteous_dead_letter::{DeadLetterLayer, DeadLettered, Payload};
use courteous_testkit::{Probe, Reply, TestBody};
use http::{HeaderMap, Request};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use crate::support::*;

/// Makes a call with `body` to a server that fails, after it has read the body or not.
async fn fail(layer: DeadLetterLayer, body: AnyBody, read: bool) {
    let probe = Probe::new().otherwise(|_| Reply::status(503));
    let probe = if read { probe.reading_bodies() } else { probe };
    let request = Request::post("/").body(body).unwrap();
    let response = layer.layer(probe).oneshot(request).await.unwrap();
    assert!(DeadLettered::of(&response).is_some());
}

async fn payload(limit: usize, body: AnyBody, read: bool) -> Payload {
    let (_, store, layer) = layer();
    fail(layer.with_body_limit(limit), body, read).await;
    letter(&store).await.payload
}

fn whole(data: &'static str) -> Payload {
    Payload::Whole(Bytes::from(data))
}

#[tokio::test]
async fn a_body_in_memory_is_kept_whole_whether_it_was_read_or_not() {
    for read in [false, true] {
        assert_eq!(payload(5, "hello".into(), read).await, whole("hello"));
        assert_eq!(payload(0, AnyBody::empty(), read).await, whole(""));
    }
}

#[tokio::test]
async fn a_streamed_body_is_kept_whole_whether_it_was_read_or_not() {
    for read in [false, true] {
        let body = AnyBody::new(TestBody::new().chunk("hel").chunk("lo"));
        assert_eq!(payload(5, body, read).await, whole("hello"));
    }
}

#[tokio::test]
async fn a_longer_body_is_truncated_and_not_more_than_the_limit_is_kept() {
    let beginning = Payload::Truncated(Bytes::from("hell"));
    assert_eq!(payload(4, "hello".into(), true).await, beginning);
    let body = || AnyBody::new(TestBody::new().chunk("hel").chunk("lo"));
    assert_eq!(payload(4, body(), false).await, beginning);
    // The part of a stream that was read, but was too long to be kept, is gone.
    let nothing = Payload::Truncated(Bytes::new());
    assert_eq!(payload(4, body(), true).await, nothing);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_end_in_time_is_gone_and_the_letter_is_not() {
    let start = Instant::now();
    let body = AnyBody::new(TestBody::new().chunk("hello").stall());
    assert_eq!(payload(9, body, false).await, Payload::Gone);
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_stream_takes_at_most_half_of_the_time_to_record_and_never_all_of_it() {
    for (limit, expected) in [(SECOND, SECOND / 2), (Duration::MAX, SECOND)] {
        let (_, store, layer) = layer();
        let start = Instant::now();
        let body = AnyBody::new(TestBody::new().chunk("hello").stall());
        fail(layer.with_record_timeout(limit), body, false).await;
        assert_eq!(start.elapsed(), expected);
        assert_eq!(letter(&store).await.payload, Payload::Gone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_in_time_is_waited_for() {
    let body = AnyBody::new(TestBody::new().chunk("hel").pause(SECOND / 2).chunk("lo"));
    assert_eq!(payload(9, body, false).await, whole("hello"));
}

#[tokio::test]
async fn a_body_that_failed_or_has_trailers_is_gone() {
    let body = AnyBody::new(TestBody::new().chunk("hello").fail("disk"));
    assert_eq!(payload(9, body, false).await, Payload::Gone);
    let body = AnyBody::new(TestBody::new().chunk("hello").trailers(HeaderMap::new()));
    assert_eq!(payload(9, body, false).await, Payload::Gone);
}

#[tokio::test]
async fn sixty_four_kibibytes_are_kept_by_default() {
    for (extra, is_whole) in [(0, true), (1, false)] {
        let (_, store, layer) = layer();
        let body = AnyBody::from(vec![7; 64 * 1024 + extra]);
        fail(layer, body, false).await;
        let payload = letter(&store).await.payload;
        assert_eq!(matches!(payload, Payload::Whole(_)), is_whole);
        assert_eq!(payload.bytes().len(), 64 * 1024);
    }
}

#[tokio::test]
async fn a_body_of_another_kind_is_kept_by_the_function_that_wraps_it() {
    use courteous_core::BoxError;
    use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
    type Boxed = UnsyncBoxBody<Bytes, BoxError>;

    let (_, store, layer) = layer();
    let server = service_fn(async |_: Request<Boxed>| Ok::<_, Infallible>(status(503)));
    let body = http_body_util::Full::<Bytes>::from("hello")
        .map_err(Into::into)
        .boxed_unsync();
    let request = Request::post("/").body(body).unwrap();
    layer
        .via(Boxed::new)
        .layer(server)
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(letter(&store).await.payload, whole("hello"));
}
