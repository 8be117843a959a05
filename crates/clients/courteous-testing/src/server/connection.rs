use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

#[cfg(not(feature = "server-http2"))]
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
#[cfg(feature = "server-http2")]
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{exchange::exchange, line::Line};
use crate::record::Record;

/// Serves one connection until the client or the script ends it.
pub(super) async fn serve(stream: TcpStream, record: Arc<Record>) {
    let _ = stream.set_nodelay(true);
    let line = Arc::new(Line::default());
    let service = {
        let line = line.clone();
        service_fn(move |request| exchange(request, record.clone(), line.clone()))
    };
    #[cfg(not(feature = "server-http2"))]
    let server = http1::Builder::new();
    #[cfg(feature = "server-http2")]
    let server = auto::Builder::new(TokioExecutor::new());
    let stream = TokioIo::new(Stream {
        stream,
        line: line.clone(),
    });
    let connection = server.serve_connection(stream, service);
    tokio::select! {
        // The server does not care if a client goes away.
        _ = connection => {}
        () = line.lost() => {}
    }
}

/// A connection's socket, which is reset when it is dropped if the script says so.
struct Stream {
    stream: TcpStream,
    line: Arc<Line>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.line.resets() {
            #[allow(
                deprecated,
                reason = "a linger of zero does not block, and its other name is newer than our oldest Tokio"
            )]
            let _ = self.stream.set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.line.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
