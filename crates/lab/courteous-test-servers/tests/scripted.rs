//! The scripted server does what it says.

use std::{io, time::Duration};

use bytes::Bytes;
use courteous_test_servers::{Act, Moment, ScriptedServer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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
