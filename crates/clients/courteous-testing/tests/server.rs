//! The scripted server, as a client sees it on its socket. On the running clock: sockets are real.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    future::Future,
    io::{self, ErrorKind},
    time::Duration,
};

use courteous_testing::{Answer, End, Script, ScriptServer};
use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Long enough for everything that comes, however slow the machine is.
const LONG: Duration = Duration::from_secs(60);
/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(50);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.unwrap()
}

async fn send(server: &ScriptServer, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the server ends the connection, and how it ended.
async fn read(mut stream: TcpStream) -> (String, io::Result<usize>) {
    let mut bytes = Vec::new();
    let end = in_time(stream.read_to_end(&mut bytes)).await;
    (String::from_utf8(bytes).unwrap(), end)
}

async fn get(server: &ScriptServer, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    read(send(server, &request).await).await.0
}

#[tokio::test]
async fn requests_are_answered_by_the_script_on_any_connection() {
    let script = Script::new([
        Answer::status(503).retry_after(Duration::from_secs(1)),
        Answer::ok().body("a note"),
    ])
    .on(Method::POST, "/charges", [201]);
    let server = script.serve().await.unwrap();

    let response = get(&server, "/notes/1?x=y").await;
    assert!(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    assert!(response.contains("retry-after: 1\r\n") && response.contains("content-length: 0\r\n"));

    let body = "POST /charges HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\ncontent-length: 4\r\n\
                connection: close\r\n\r\n100 ";
    let (response, _) = read(send(&server, body).await).await;
    assert!(response.starts_with("HTTP/1.1 201 Created\r\n"));

    let response = get(&server, "/notes/1").await;
    assert!(response.contains("content-length: 6\r\n") && response.ends_with("\r\n\r\na note"));

    server.assert_done();
    let calls = server.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(
        (calls[0].method(), calls[0].uri().path()),
        (&Method::GET, "/notes/1")
    );
    assert_eq!((calls[1].key(), calls[1].body()), (Some("k"), &b"100 "[..]));
    assert_eq!(
        calls[1].end(),
        Some(End::Answered(http::StatusCode::CREATED))
    );
    assert_eq!(server.url("/a"), format!("http://{}/a", server.address()));
}

#[tokio::test]
async fn two_requests_on_one_connection_get_two_answers() {
    let server = Script::new([200, 404]).serve().await.unwrap();
    let two =
        "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let (text, _) = read(send(&server, two).await).await;
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("HTTP/1.1 404 Not Found"));
    server.assert_done();
}

#[tokio::test]
async fn lost_connections_are_reset_or_closed() {
    let answers = [
        Answer::connection_reset(),
        Answer::lost(),
        Answer::connection_closed(),
    ];
    let server = Script::new(answers).serve().await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for _ in 0..2 {
        let (text, end) = read(send(&server, request).await).await;
        assert_eq!(text, "");
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let (text, end) = read(send(&server, request).await).await;
    assert_eq!((&*text, end.unwrap()), ("", 0));
    let processed: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.is_processed())
        .collect();
    assert_eq!(processed, [false, true, false]);
    server.assert_done();
}

#[tokio::test]
async fn all_that_is_before_the_cut_is_sent() {
    let megabyte = vec![b'x'; 1 << 20];
    let answers = [
        Answer::ok()
            .header("content-length", "10")
            .body("half")
            .cut_body(),
        Answer::ok().body("half").cut_body(),
        Answer::ok()
            .header("content-length", "9999999")
            .body(megabyte)
            .cut_body(),
        Answer::ok().header("content-length", "10").cut_body(),
    ];
    let server = Script::new(answers).serve().await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    let (text, end) = read(send(&server, request).await).await;
    assert!(
        text.contains("content-length: 10\r\n") && text.ends_with("\r\n\r\nhalf") && end.is_ok()
    );

    let (text, end) = read(send(&server, request).await).await;
    assert!(text.contains("transfer-encoding: chunked") && end.is_ok());
    assert!(text.ends_with("\r\n\r\n4\r\nhalf\r\n"), "{text}");

    let (text, end) = read(send(&server, request).await).await;
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.len() == 1 << 20 && end.is_ok());

    let (text, end) = read(send(&server, request).await).await;
    assert!(text.ends_with("\r\n\r\n") && end.is_ok());
}

#[tokio::test]
async fn silence_keeps_the_connection() {
    let answers = [Answer::never(), Answer::ok().body("half").stall_body()];
    let server = Script::new(answers).serve().await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    let mut stream = send(&server, request).await;
    in_time(server.wait_for_calls(1)).await;
    assert!(timeout(SHORT, stream.read_u8()).await.is_err());
    assert_eq!(server.calls()[0].end(), None);
    drop(stream);

    let mut stream = send(&server, request).await;
    let mut text = String::new();
    while !text.ends_with("half\r\n") {
        let mut bytes = [0; 256];
        let length = in_time(stream.read(&mut bytes)).await.unwrap();
        assert!(length > 0, "{text}");
        text.push_str(str::from_utf8(&bytes[..length]).unwrap());
    }
    assert!(timeout(SHORT, stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_client_that_goes_away_is_recorded() {
    let server = Script::always(Answer::never()).serve().await.unwrap();
    let stream = send(&server, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    in_time(server.wait_for_calls(1)).await;
    drop(stream);
    let dropped = async {
        while server.calls()[0].end() != Some(End::Dropped) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(dropped).await;
}

#[tokio::test]
async fn an_unknown_request_and_an_invalid_answer_are_501_with_the_reason() {
    let server = Script::new([Answer::status(1)]).serve().await.unwrap();
    let response = get(&server, "/a").await;
    assert!(response.starts_with("HTTP/1.1 501 Not Implemented\r\n"));
    assert!(response.ends_with("\r\n\r\ninvalid answer: 1 is no status code"));
    let response = get(&server, "/b").await;
    assert!(response.starts_with("HTTP/1.1 501 Not Implemented\r\n"));
    let reason = "unexpected call #2, GET /b: its script has 1 answer, and it was given";
    assert!(response.ends_with(reason), "{response}");
    assert!(server.verify().is_err());
}

#[tokio::test]
async fn a_delay_and_a_pause_are_real() {
    let answer = Answer::ok()
        .after(SHORT)
        .body("a")
        .pause_body(SHORT)
        .body("b");
    let server = Script::new([answer]).serve().await.unwrap();
    let start = tokio::time::Instant::now();
    assert!(get(&server, "/").await.ends_with("ab"));
    assert!(start.elapsed() >= 2 * SHORT);
}

#[tokio::test]
async fn a_dropped_server_closes_its_port_and_its_connections() {
    let server = Script::always(Answer::never()).serve().await.unwrap();
    let address = server.address();
    let stream = send(&server, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    in_time(server.wait_for_calls(1)).await;
    drop(server);
    let (text, _) = read(stream).await;
    assert_eq!(text, "");
    let refused = in_time(TcpStream::connect(address)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_script_with_a_refused_connection_cannot_be_served() {
    let refused = Answer::connection_refused;
    for script in [
        Script::new([refused()]),
        Script::always(refused()),
        Script::default().on(Method::GET, "/", [refused()]),
    ] {
        let error = script.serve().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn without_a_runtime_a_server_is_an_error_and_no_panic() {
    use std::task::{Context, Poll, Waker};
    let serve = std::pin::pin!(Script::always(200).serve());
    let poll = serve.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Ready(Err(_))));
}
