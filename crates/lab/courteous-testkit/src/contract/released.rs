use std::{task::Poll, time::Duration};

use http_body_util::BodyExt;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Client, Subject,
    subject::{paused, ready, request, send, succeed},
    waits::Others,
};
use crate::{Probe, Reply, Task, TestBody};

/// A limit against tests that never end.
const MANY: usize = 1000;

/// A response future that is dropped after 0, 1, 2, ... polls leaves nothing held, and its turn to the next.
pub fn a_future_dropped_after_any_poll_releases_all<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    let every_poll = |behind| {
        let mut polls = 0;
        while !dropped_after(polls, behind, &make()) {
            polls += 1;
            assert!(polls < MANY, "a call that does not end");
        }
    };
    every_poll(false);
    if make().behind.is_some() {
        every_poll(true);
    }
}

/// Drops a call after so many polls. Whether it has resolved before.
fn dropped_after<L>(polls: usize, behind: bool, subject: &Subject<L>) -> bool
where
    L: Layer<Probe, Service: Client>,
{
    let when = format!("dropped after {polls} polls");
    let probe = Probe::new()
        .reading_bodies()
        .otherwise(|_| slow(Reply::ok()));
    let mut service = subject.service(&probe);
    paused(async {
        let mut others = None;
        if behind {
            others = Some(Others::occupy(subject, &service, &probe).await);
        }
        probe.script((1..subject.attempts).map(|_| slow(Reply::status(503))));
        ready(&mut service).await.unwrap();
        let mut call = Task::new(service.call(request()));
        let mut resolved = false;
        for _ in 0..polls {
            if !call.is_woken()
                && let Some(others) = others.take()
            {
                others.finish().await;
            }
            call.woken().await;
            if call.poll().is_ready() {
                resolved = true;
                break;
            }
        }
        drop(call);
        if let Some(others) = others.take() {
            others.finish().await;
        }
        subject.assert_nothing_held(&probe, &when);
        let calls = probe.calls();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(probe.calls(), calls, "a call was made for nobody, {when}");
        succeed(&mut service).await;
        subject.assert_nothing_held(&probe, &when);
        resolved
    })
}

/// Pending in each of its parts.
fn slow(reply: Reply) -> Reply {
    let pause = Duration::from_millis(10);
    let body = TestBody::new().pause(pause).chunk("slow").pause(pause);
    reply.body(body).pending(1).after(pause)
}

/// A response that is dropped unread, after each of its frames, in the wait for the next one or at its end leaves nothing
/// held.
pub fn a_response_dropped_at_any_frame_releases_all<L>(make: impl Fn() -> Subject<L>)
where
    L: Layer<Probe, Service: Client>,
{
    for frames in 0..=3 {
        for waiting in [false, true] {
            let subject = make();
            let pause = Duration::from_millis(10);
            let body = TestBody::new().chunk("one").pause(pause).chunk("two");
            let probe = Probe::new().replies([Reply::ok().body(body.pause(pause).chunk("three"))]);
            let mut service = subject.service(&probe);
            paused(async {
                let mut response = send(&mut service).await.unwrap();
                for _ in 0..frames {
                    let frame = response.body_mut().frame().await;
                    assert!(frame.is_some_and(|frame| frame.is_ok()));
                }
                if waiting {
                    let mut next = Task::new(response.body_mut().frame());
                    let polled = next.poll();
                    assert!(matches!(
                        polled,
                        Poll::Pending | Poll::Ready(Some(Ok(_)) | None)
                    ));
                }
                drop(response);
                let when = format!("a response dropped after {frames} frames");
                subject.assert_nothing_held(&probe, &when);
                succeed(&mut service).await;
            });
        }
    }
}
