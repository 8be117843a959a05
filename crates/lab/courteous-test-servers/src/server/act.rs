use std::{io, time::Duration};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

/// What a [`ScriptedServer`](crate::ScriptedServer) does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Act {
    /// Sends these bytes as they are, and waits for the next request on the connection.
    Send(Bytes),
    /// Sends these bytes, and closes the connection in good order.
    SendAndClose(Bytes),
    /// Sends these bytes `chunk` by `chunk`, with a pause after each, and waits for the next request.
    Drip {
        /// The bytes.
        bytes: Bytes,
        /// How many bytes at a time.
        chunk: usize,
        /// How long between two writes.
        pause: Duration,
    },
    /// Closes the connection in good order, without an answer: the client reads an end of file.
    Close,
    /// Resets the connection.
    Reset,
    /// Keeps the connection, and never answers.
    Stall,
}

impl Act {
    /// A whole response: this status, a `content-length`, more header lines (each ended by CRLF), this body.
    #[must_use]
    pub fn respond(status: u16, fields: &str, body: &str) -> Self {
        let length = body.len();
        let text =
            format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {length}\r\n{fields}\r\n{body}");
        Self::Send(text.into())
    }
}

/// Performs `act`. Returns whether the connection continues.
pub(super) async fn perform(stream: &mut TcpStream, act: Act) -> io::Result<bool> {
    match act {
        Act::Send(bytes) => stream.write_all(&bytes).await?,
        Act::SendAndClose(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        Act::Drip {
            bytes,
            chunk,
            pause,
        } => {
            for piece in bytes.chunks(chunk.max(1)) {
                stream.write_all(piece).await?;
                sleep(pause).await;
            }
        }
        Act::Close => {
            stream.shutdown().await?;
            return Ok(false);
        }
        Act::Reset => {
            #[allow(
                deprecated,
                reason = "a linger of zero does not block, and is what resets"
            )]
            stream.set_linger(Some(Duration::ZERO))?;
            return Ok(false);
        }
        Act::Stall => std::future::pending().await,
    }
    Ok(true)
}
