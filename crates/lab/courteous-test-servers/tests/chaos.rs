//! The proxy treats connections as its script says, and keeps none of them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a check that fails panics"
)]

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use courteous_test_servers::{ChaosProxy, Course, Flow};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// A server that sends back what it reads, and closes when its client does. The server ends with
/// the test.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
                to.shutdown().await
            });
        }
    });
    address
}

async fn through(course: Course) -> (ChaosProxy, TcpStream) {
    let proxy = ChaosProxy::following(echo().await, [course]).await.unwrap();
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, stream)
}

/// Writes `bytes`, closes this side, and reads to the end. Returns what came back, and how it
/// ended.
async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut read = Vec::new();
    let end = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut read).await.map(drop)
    };
    let end = timeout(Duration::from_secs(60), end).await;
    (read, end.expect("an end within a minute"))
}

async fn all_closed(proxy: &ChaosProxy) {
    for _ in 0..12_000 {
        if proxy.open_connections() == 0 {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{proxy:?}");
}

fn kind(end: io::Result<()>) -> ErrorKind {
    end.unwrap_err().kind()
}

#[tokio::test]
async fn a_smooth_connection_carries_all_and_ends_in_good_order() {
    let (proxy, mut stream) = through(Course::smooth()).await;
    let bytes = vec![7; 1 << 20];
    let (mut from, mut to) = stream.split();
    let mut read = Vec::new();
    let written = async {
        to.write_all(&bytes).await?;
        to.shutdown().await
    };
    tokio::try_join!(written, from.read_to_end(&mut read)).unwrap();
    assert!(read == bytes);
    all_closed(&proxy).await;
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_reset_on_the_way_up_lets_so_many_bytes_through() {
    let (proxy, mut stream) =
        through(Course::smooth().with_up(Flow::smooth().reset_after(4))).await;
    stream.write_all(b"1234").await.unwrap();
    let mut read = [0; 4];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!((&read, proxy.open_connections()), (b"1234", 1));
    let (read, end) = exchange(&mut stream, b"5").await;
    assert_eq!((read.len(), kind(end)), (0, ErrorKind::ConnectionReset));
    all_closed(&proxy).await;
}

#[tokio::test]
async fn a_reset_on_the_way_down_lets_so_many_bytes_through() {
    let flow = Flow::smooth().reset_after(3);
    let (proxy, mut stream) = through(Course::smooth().with_down(flow)).await;
    let (read, end) = exchange(&mut stream, b"12345").await;
    assert_eq!(
        (&*read, kind(end)),
        (&b"123"[..], ErrorKind::ConnectionReset)
    );
    all_closed(&proxy).await;
}

#[tokio::test]
async fn a_half_close_ends_one_direction_in_good_order() {
    let flow = Flow::smooth().half_close_after(3);
    let (proxy, mut stream) = through(Course::smooth().with_down(flow)).await;
    let (read, end) = exchange(&mut stream, b"12345").await;
    assert_eq!((&*read, end.is_ok()), (&b"123"[..], true));
    all_closed(&proxy).await;

    // Upwards: the server has read the end, and still answers.
    let (proxy, mut stream) = through(Course::smooth().with_up(flow)).await;
    stream.write_all(b"12345").await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!((&*read, proxy.open_connections()), (&b"123"[..], 1));
    drop(stream);
    all_closed(&proxy).await;
}

#[tokio::test]
async fn a_black_hole_swallows_what_follows_until_the_client_is_gone() {
    let flow = Flow::smooth().black_hole_after(3);
    let courses = [
        Course::smooth().with_up(flow),
        Course::smooth().with_down(flow),
    ];
    for course in courses {
        let (proxy, mut stream) = through(course).await;
        stream.write_all(b"12345").await.unwrap();
        let mut read = [0; 3];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"123");
        let more = timeout(Duration::from_millis(100), stream.read(&mut read)).await;
        assert!(more.is_err(), "{more:?}");
        assert_eq!(proxy.open_connections(), 1);
        drop(stream);
        all_closed(&proxy).await;
    }
}

#[tokio::test]
async fn latency_and_drip_take_their_time_and_lose_nothing() {
    let late = Flow::smooth().with_latency(Duration::from_millis(30));
    let start = Instant::now();
    let (proxy, mut stream) = through(Course::smooth().with_up(late).with_down(late)).await;
    assert_eq!(exchange(&mut stream, b"12345").await.0, b"12345");
    assert!(start.elapsed() >= Duration::from_millis(60));
    all_closed(&proxy).await;

    let drip = Flow::smooth().with_drip(1, Duration::from_millis(5));
    let start = Instant::now();
    let (proxy, mut stream) = through(Course::smooth().with_down(drip)).await;
    assert_eq!(exchange(&mut stream, b"12345").await.0, b"12345");
    assert!(start.elapsed() >= Duration::from_millis(25));
    all_closed(&proxy).await;
}

#[tokio::test]
async fn a_refused_connection_is_reset_and_the_server_sees_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = ChaosProxy::following(listener.local_addr().unwrap(), [Course::refused()]);
    let proxy = proxy.await.unwrap();
    // The reset may come as early as the connection.
    let end = match TcpStream::connect(proxy.address()).await {
        Ok(mut stream) => stream.read_u8().await.map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(kind(end), ErrorKind::ConnectionReset);
    all_closed(&proxy).await;
    let accepted = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err());
}

#[tokio::test]
async fn while_it_refuses_the_port_is_closed_and_open_connections_go_on() {
    let proxy = ChaosProxy::following(echo().await, []).await.unwrap();
    let mut before = TcpStream::connect(proxy.address()).await.unwrap();
    before.write_all(b"12").await.unwrap();
    before.read_u8().await.unwrap();
    for _ in 0..3 {
        proxy.refuse().await;
        let refused = TcpStream::connect(proxy.address()).await.map(drop);
        assert_eq!(kind(refused), ErrorKind::ConnectionRefused);
        before.write_all(b"1").await.unwrap();
        before.read_u8().await.unwrap();
        proxy.accept().await;
        let mut after = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(exchange(&mut after, b"hello").await.0, b"hello");
    }
    drop(before);
    all_closed(&proxy).await;
    assert_eq!(proxy.connections(), 4);
}

#[tokio::test]
async fn a_diverted_proxy_leads_new_connections_elsewhere_and_leaves_open_ones() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (proxy, mut stays) = through(Course::smooth()).await;
    stays.write_all(b"a").await.unwrap();
    stays.read_exact(&mut [0]).await.unwrap();
    proxy.divert(other.local_addr().unwrap());
    let _elsewhere = TcpStream::connect(proxy.address()).await.unwrap();
    let accepted = timeout(Duration::from_secs(60), other.accept()).await;
    accepted.expect("a connection within a minute").unwrap();
    assert_eq!(exchange(&mut stays, b"bc").await.0, b"bc");
}

#[tokio::test]
async fn a_dropped_proxy_resets_its_connections_and_frees_its_port() {
    let (proxy, mut stream) = through(Course::smooth()).await;
    stream.write_all(b"1").await.unwrap();
    stream.read_u8().await.unwrap();
    let address = proxy.address();
    drop(proxy);
    let error = timeout(Duration::from_secs(60), stream.read_u8())
        .await
        .unwrap();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let refused = TcpStream::connect(address).await.map(drop);
    assert_eq!(kind(refused), ErrorKind::ConnectionRefused);
}

#[test]
fn a_seed_decides_each_connection_whatever_their_order() {
    let (first, second) = (Course::seeded(1, 4096), Course::seeded(1, 4096));
    let one: Vec<_> = (0..200).map(first).collect();
    let mut same: Vec<_> = (0..200).rev().map(second).collect();
    same.reverse();
    assert_eq!(one, same);
    let other: Vec<_> = (0..200).map(Course::seeded(2, 4096)).collect();
    assert_ne!(one, other);
    let smooth = one.iter().filter(|course| **course == Course::smooth());
    let refused = one.iter().filter(|course| **course == Course::refused());
    assert!((5..40).contains(&smooth.count()) && (5..40).contains(&refused.count()));
}
