use std::io::{self, Write};

use serde_json::Value;

/// The reader of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    People,
    Json,
}

impl Output {
    /// Writes an object as a line, or a text that ends its own lines.
    ///
    /// If the reader has closed the pipe, as `head` does, nothing more is written, and that is no
    /// error. Any other error is returned: an export to a full disk has failed.
    pub(crate) fn write(self, json: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let text = match self {
            Self::Json => format!("{json}\n"),
            Self::People => text(),
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes a message to stderr.
pub(crate) fn report(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
