//! A forked process is a separate worker, though it has a copy of the bucket, of its task and of
//! its connection.
//!
//! The test does not use the test harness, which has threads. If a process has threads, `fork`
//! copies only one of them, and also the locks that other threads hold.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a check that fails panics"
)]

#[cfg(unix)]
fn main() {
    unix::main();
}

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
mod unix {
    use std::{
        convert::Infallible,
        io::{Read, Write, pipe},
        process::exit,
    };

    use courteous_test_servers::Redis;
    use courteous_throttle::ThrottleLayer;
    use courteous_throttle_redis::RedisBucket;
    use fork::{Fork, fork, waitpid};
    use http::{Request, Response};
    use http_body_util::Empty;
    use tokio::runtime::{Builder, Runtime};
    use tower::{Layer, ServiceExt, service_fn};

    pub(super) fn main() {
        let Some(server) = Redis::start() else {
            return;
        };
        let redis = courteous_throttle_redis::Redis::open(&server.url()).unwrap();
        let bucket = RedisBucket::new(&redis, "forked", "500/s".parse().unwrap());
        // The runtime goes on, and so does its task.
        let runtime = runtime();
        runtime.block_on(send(&bucket));
        assert_eq!(bucket.gauges().workers(), 1);

        let (mut reader, mut writer) = pipe().unwrap();
        match fork().unwrap() {
            Fork::Child => {
                self::runtime().block_on(send(&bucket));
                writer
                    .write_all(&[bucket.gauges().workers() as u8])
                    .unwrap();
                // The child must not drop anything that the parent also has, such as the server.
                exit(0);
            }
            Fork::Parent(id) => {
                drop(writer);
                let mut workers = Vec::new();
                reader.read_to_end(&mut workers).unwrap();
                assert_eq!(waitpid(id).unwrap(), 0);
                assert_eq!(workers, [2], "as the child has seen");
            }
        }
        runtime.block_on(send(&bucket));
        assert_eq!(
            bucket.gauges().failures(),
            0,
            "the connection is the parent's alone"
        );
        println!("a forked process is a worker of its own");
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Sends until Redis was called once more.
    async fn send(bucket: &RedisBucket) {
        let calls = bucket.gauges().calls();
        let server =
            service_fn(async |_| Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new())));
        let client = ThrottleLayer::of(bucket.clone()).layer(server);
        while bucket.gauges().calls() == calls {
            let request = Request::new(Empty::<&[u8]>::new());
            client.clone().oneshot(request).await.unwrap();
        }
        // This call finds the answer of Redis.
        let request = Request::new(Empty::<&[u8]>::new());
        client.oneshot(request).await.unwrap();
    }
}
