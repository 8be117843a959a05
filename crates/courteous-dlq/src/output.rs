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
    /// Whoever reads it may have had enough, as `head` has: then nothing more is written, and that is all.
    pub(crate) fn write(self, json: &Value, text: impl FnOnce() -> String) {
        let text = match self {
            Self::Json => format!("{json}\n"),
            Self::People => text(),
        };
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Says something beside the output.
pub(crate) fn report(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
