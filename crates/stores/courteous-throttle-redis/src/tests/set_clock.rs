//! A real Redis whose clock a test sets.

use std::sync::Arc;

use courteous_test_servers as servers;
use futures_util::future::BoxFuture;
use redis::{Client, RedisError};

use crate::{
    Redis,
    script::SOURCE,
    server::Server,
    topology::{ClientConnection, ServerConnection, Timeouts, Topology, without_timeouts},
    worker::Worker,
};

/// How the script reads the clock.
const READING: &str = "local now = tonumber(time[1]) * 1e6 + tonumber(time[2])";
/// The key that has the clock's offset, in microseconds.
const OFFSET: &str = "test:clock";

/// The script with `reading` as its clock, in microseconds.
pub(crate) fn script_with_clock(reading: &str) -> &'static str {
    let parts: Vec<_> = SOURCE.split(READING).collect();
    let [before, after] = &*parts else {
        panic!("the script reads the clock once");
    };
    format!("{before}local now = {reading}{after}").leak()
}

/// The server at a URL, whose script adds an offset to the clock.
pub(crate) struct SetClock {
    client: Client,
    source: &'static str,
}

impl SetClock {
    /// Opens a worker of the server at `url`.
    pub(crate) fn open(url: &str) -> Redis {
        let offset = format!("(redis.call('GET', '{OFFSET}') or 0)");
        let source = format!("time[1] * 1e6 + time[2] + {offset}");
        let server = Server::new(Self {
            client: Client::open(url).unwrap(),
            source: script_with_clock(&source),
        });
        Redis {
            worker: Arc::new(Worker::new(server)),
        }
    }

    /// Sets the clock of `redis` to an offset from the true time, in microseconds.
    pub(crate) fn set(redis: &servers::Redis, offset: i64) {
        redis
            .command(&["SET", OFFSET, &offset.to_string()])
            .unwrap();
    }
}

impl Topology for SetClock {
    fn address(&self) -> String {
        "a server whose clock is set".to_owned()
    }

    fn connect(&self, _: Timeouts) -> BoxFuture<'_, Result<Arc<dyn ServerConnection>, RedisError>> {
        Box::pin(async {
            let config = without_timeouts();
            let open = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let open = ClientConnection::with_source(open, false, self.source);
            let open: Arc<dyn ServerConnection> = Arc::new(open);
            Ok(open)
        })
    }

    #[cfg(feature = "tls")]
    fn secured(&self, _: &redis::TlsCertificates) -> Option<Arc<dyn Topology>> {
        None
    }
}
