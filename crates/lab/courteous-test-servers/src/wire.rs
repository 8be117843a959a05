use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::runtime;

use crate::chaos::{ChaosProxy, Course, Flow};

/// A [`ChaosProxy`] with its own runtime.
#[derive(Debug)]
pub struct Wire {
    proxy: Option<ChaosProxy>,
    runtime: runtime::Runtime,
    is_hole: Arc<AtomicBool>,
}

impl Wire {
    /// Makes a proxy that carries all data, and can become a [black hole](Self::set_hole).
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        Self::with(server, |_| Course::smooth())
    }

    /// Makes a proxy that treats the nth connection as `course` says.
    pub fn with(
        server: SocketAddr,
        course: impl Fn(usize) -> Course + Send + Sync + 'static,
    ) -> Self {
        let threads = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = threads.unwrap();
        let is_hole = Arc::new(AtomicBool::new(false));
        let swallows = Arc::clone(&is_hole);
        let script = move |connection| {
            if swallows.load(Relaxed) {
                let hole = Flow::smooth().black_hole_after(0);
                Course::smooth().with_up(hole).with_down(hole)
            } else {
                course(connection)
            }
        };
        let proxy = runtime.block_on(ChaosProxy::start(server, script));
        Self {
            proxy: Some(proxy.unwrap()),
            runtime,
            is_hole,
        }
    }

    /// The URL of a Redis server behind the proxy.
    #[must_use]
    pub fn redis_url(&self) -> String {
        format!("redis://{}", self.proxy().address())
    }

    /// Sets whether *new* connections swallow all data.
    pub fn set_hole(&self, is_hole: bool) {
        self.is_hole.store(is_hole, Relaxed);
    }

    /// The proxy.
    #[must_use]
    pub fn proxy(&self) -> &ChaosProxy {
        self.proxy.as_ref().unwrap()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.proxy.take();
    }
}
