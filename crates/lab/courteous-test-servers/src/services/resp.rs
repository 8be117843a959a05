use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends one command to a Redis over a new connection, and returns the reply's text. An array gives
/// the text of its elements line by line. Nil gives the empty text.
pub(super) fn command(server: SocketAddr, words: &[&str]) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes())?;
    reply(&mut BufReader::new(stream))
}

fn reply(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or_else(cut)?;
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "-" => Err(io::Error::other(rest.to_owned())),
        "$" => match rest.parse::<usize>() {
            Ok(length) => {
                let mut text = vec![0; length + 2];
                from.read_exact(&mut text)?;
                text.truncate(length);
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            Err(_) => Ok(String::new()),
        },
        "*" => {
            let elements = (0..rest.parse().unwrap_or(0)).map(|_| reply(from));
            Ok(elements.collect::<io::Result<Vec<_>>>()?.join("\n"))
        }
        _ => Err(cut()),
    }
}

fn cut() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_read() {
        let read = |text: &str| reply(&mut text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(read("+OK\r\n").unwrap(), "OK");
        assert_eq!(read(":12\r\n").unwrap(), "12");
        assert_eq!(read("$5\r\na\r\nbc\r\n").unwrap(), "a\r\nbc");
        assert_eq!(read("$-1\r\n").unwrap(), "");
        assert_eq!(read("*2\r\n$1\r\na\r\n:2\r\n").unwrap(), "a\n2");
        assert_eq!(
            read("-READONLY You can't\r\n").unwrap_err(),
            "READONLY You can't"
        );
        assert!(read("").is_err() && read("$5\r\nab").is_err());
    }
}
