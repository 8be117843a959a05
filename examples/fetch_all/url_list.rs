//! The list of pages to fetch.

use std::fmt;

use http::Uri;

/// The URLs in a text: one per line.
#[derive(Debug, Default)]
pub(crate) struct UrlList {
    pub(crate) urls: Vec<Uri>,
    pub(crate) malformed: Vec<Malformed>,
}

/// A line that is not a URL to fetch.
#[derive(Debug)]
pub(crate) struct Malformed {
    /// Counted from 1, as editors do.
    line: usize,
    text: String,
    reason: String,
}

impl UrlList {
    pub(crate) fn parse(text: &str) -> Self {
        let mut list = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse(line) {
                Ok(url) => list.urls.push(url),
                Err(reason) => list.malformed.push(Malformed {
                    line: number,
                    text: line.to_owned(),
                    reason,
                }),
            }
        }
        list
    }
}

fn parse(line: &str) -> Result<Uri, String> {
    let url: Uri = line
        .parse()
        .map_err(|error: http::uri::InvalidUri| error.to_string())?;
    match url.scheme_str() {
        Some("http") => Ok(url),
        Some("https") => Err("https is not supported, as this example is built without TLS".into()),
        Some(other) => Err(format!("`{other}` is not supported, only http is")),
        None => Err("a URL begins with `http://`".into()),
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.text, self.reason)
    }
}
