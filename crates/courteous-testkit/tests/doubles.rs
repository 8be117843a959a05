//! The doubles do what they say.

use std::{io, time::Duration};

use bytes::Bytes;
use courteous_testkit::{Act, Dice, Moment, Probe, Reply, ScriptedServer, Storm, Task, TestBody};
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

#[tokio::test(start_paused = true)]
async fn a_storm_drops_in_each_way_and_leaves_the_probe_empty() {
    let probe = Probe::new().otherwise(|_| {
        let body = TestBody::new().chunk("one").chunk("two").chunk("three");
        Reply::ok().body(body).after(Duration::from_millis(500))
    });
    let request = |_| Request::new(Full::<Bytes>::default());
    let calm = Storm::new(1000, 7).run(&probe, request).await;
    let sum = calm.finished + calm.failed + calm.dropped + calm.dropped_bodies;
    assert_eq!((sum, calm.failed), (1000, 0));
    assert!(calm.finished > 300 && calm.dropped > 100 && calm.dropped_bodies > 100);
    assert!(probe.dropped() > 0 && probe.dropped() <= calm.dropped);
    assert_eq!((probe.in_flight(), probe.ready_held()), (0, 0));
    assert_eq!(probe.bodies().alive(), 0);

    let again = Probe::new().otherwise(|_| {
        let body = TestBody::new().chunk("one").chunk("two").chunk("three");
        Reply::ok().body(body).after(Duration::from_millis(500))
    });
    assert_eq!(Storm::new(1000, 7).run(&again, request).await, calm);
}

#[test]
fn dice_fall_anywhere_below_the_end() {
    let mut dice = Dice::new(1);
    let mut seen = [0; 6];
    for _ in 0..6000 {
        seen[usize::try_from(dice.below(6)).unwrap()] += 1;
    }
    assert!(
        seen.iter().all(|times| (800..1200).contains(times)),
        "{seen:?}"
    );
    assert_eq!(dice.below(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_polled_when_it_was_woken_and_not_before() {
    let start = Instant::now();
    let mut task = Task::new(sleep(Duration::from_millis(5)));
    assert!(task.settle().await.is_pending());
    assert_eq!((task.polls(), start.elapsed()), (1, Duration::ZERO));
    task.woken().await;
    assert_eq!(start.elapsed(), Duration::from_millis(5));
    assert!(task.poll().is_ready());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "never woken")]
async fn a_task_that_is_never_woken_panics() {
    Task::new(std::future::pending::<()>()).finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_test_body_does_as_told() {
    let pause = Duration::from_secs(1);
    let mut body = TestBody::new().chunk("a").pause(pause).fail("broken");
    let start = Instant::now();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "a"
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(start.elapsed(), pause);
    assert!(body.frame().await.is_none());
}

async fn exchange(server: &ScriptedServer, requests: &[&str]) -> io::Result<String> {
    let mut stream = TcpStream::connect(server.address()).await?;
    for request in requests {
        stream.write_all(request.as_bytes()).await?;
    }
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_server_answers_in_order_and_records_what_came() {
    let acts = [
        Act::respond(503, "retry-after: 1\r\n", "later"),
        Act::respond(200, "", "done"),
    ];
    let server = ScriptedServer::answering(acts).await.unwrap();
    let plain = "POST /a HTTP/1.1\r\nX-One: 1\r\ncontent-length: 3\r\n\r\nabc";
    let chunked = "PUT /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\nt: v\r\n\r\n";
    let answer = exchange(&server, &[plain, chunked]).await.unwrap();
    assert!(
        answer.contains(" 503 ") && answer.contains("retry-after: 1") && answer.contains(" 200 ")
    );
    let seen = server.requests();
    assert_eq!((seen.len(), server.connections()), (2, 1));
    assert_eq!(
        (seen[0].body.as_slice(), seen[1].body.as_slice()),
        (&b"abc"[..], &b"def"[..])
    );
    assert_eq!(
        (seen[0].header("x-one"), seen[1].header("x-one")),
        (Some("1"), None)
    );
}

#[tokio::test]
async fn a_server_closes_at_accept_after_a_request_and_with_a_reset() {
    let get = "GET / HTTP/1.1\r\n\r\n";
    let server = ScriptedServer::start(|moment| match moment {
        Moment::Accepted(0) => Some(Act::Close),
        Moment::Request(request) if request.connection == 1 => Some(Act::Close),
        Moment::Request(request) if request.connection == 2 => Some(Act::Reset),
        Moment::Request(_) => Some(Act::Drip {
            bytes: Bytes::from_static(b"drop by drop"),
            chunk: 5,
            pause: Duration::ZERO,
        }),
        _ => None,
    })
    .await
    .unwrap();
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(exchange(&server, &[get]).await.unwrap(), "");
    let reset = exchange(&server, &[get]).await.unwrap_err();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(exchange(&server, &[get]).await.unwrap(), "drop by drop");
}

#[tokio::test]
async fn a_dropped_server_drops_its_connections() {
    let server = ScriptedServer::start(|_| Some(Act::Stall)).await.unwrap();
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"GET").await.unwrap();
    drop(server);
    let mut rest = Vec::new();
    // Closed or reset: what matters is that it ends.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
