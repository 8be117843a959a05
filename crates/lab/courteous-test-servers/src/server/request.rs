use std::io;

use tokio::{io::AsyncReadExt, net::TcpStream};

/// A moment at which the script of a [`ScriptedServer`](crate::ScriptedServer) decides.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Moment {
    /// A connection was accepted, and nothing has been read from it yet. It is the nth, from 0.
    Accepted(usize),
    /// A request was read to its end.
    Request(RawRequest),
}

/// A request as it came over the wire.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawRequest {
    /// The number of the connection, from 0.
    pub connection: usize,
    /// The number of the request among all requests, from 0.
    pub number: usize,
    /// The request line and the header fields, as sent.
    pub head: String,
    /// The body's bytes, without their chunk framing.
    pub body: Vec<u8>,
}

impl RawRequest {
    /// The value of the first header field with this name. The case of the name does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The next request's head and body; `None` if the client has closed the connection.
pub(super) async fn read_request(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
) -> io::Result<Option<(String, Vec<u8>)>> {
    let Some(end) = read_until(stream, read, b"\r\n\r\n").await? else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end);
    let mut body = Vec::new();
    if field(&head, "transfer-encoding").is_some() {
        loop {
            let Some(end) = read_until(stream, read, b"\r\n").await? else {
                return Ok(None);
            };
            let size = String::from_utf8_lossy(&read[..end - 2]).into_owned();
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            read.drain(..end);
            if size == 0 {
                // Trailers, up to the empty line.
                while let Some(end) = read_until(stream, read, b"\r\n").await? {
                    read.drain(..end);
                    if end == 2 {
                        break;
                    }
                }
                break;
            }
            fill(stream, read, size + 2).await?;
            body.extend_from_slice(&read[..size]);
            read.drain(..size + 2);
        }
    } else if let Some(length) = field(&head, "content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        fill(stream, read, length).await?;
        body = read.drain(..length).collect();
    }
    Ok(Some((head, body)))
}

/// Reads until `mark` is there. Where it ends; `None` at the end of the stream.
async fn read_until(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    mark: &[u8],
) -> io::Result<Option<usize>> {
    loop {
        let found = read.windows(mark.len()).position(|bytes| bytes == mark);
        if let Some(start) = found {
            return Ok(Some(start + mark.len()));
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

async fn fill(stream: &mut TcpStream, read: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while read.len() < length {
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
