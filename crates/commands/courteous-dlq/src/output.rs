use std::io::{self, Write};

use serde_json::Value;

/// For whom the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    People,
    Json,
}

impl Output {
    /// Writes an object as a line, or a text that ends its own lines.
    ///
    /// Whoever reads it may have had enough, as `head` has: then nothing more is written, and that is all. Any other error is
    /// one: an export to a full disk is not what was asked for.
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

/// Says something beside the output.
pub(crate) fn report(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
