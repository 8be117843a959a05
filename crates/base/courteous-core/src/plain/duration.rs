use std::{fmt, time::Duration};

use jiff::SignedDuration;

/// The text of [`Duration::MAX`].
const UNLIMITED: &str = "unlimited";

/// A duration as text: `1m 30s`.
pub(super) struct Text(pub(super) Duration);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => f.write_str(UNLIMITED),
        }
    }
}

/// Reads what [`Text`] writes, and all else that reads like it.
pub(super) fn read(text: &str) -> Result<Duration, String> {
    if text == UNLIMITED {
        return Ok(Duration::MAX);
    }
    let signed = text.parse::<SignedDuration>().ok();
    let duration = signed.and_then(|signed| Duration::try_from(signed).ok());
    duration.ok_or_else(|| {
        format!("invalid duration `{text}`: it must read like `30s`, `500ms` or `1m 30s`")
    })
}
