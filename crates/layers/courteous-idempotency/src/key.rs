use std::{fmt, str::FromStr};

use courteous_core::KeyField;
use http::HeaderValue;
use uuid::{Uuid, fmt::Hyphenated};

use crate::InvalidKey;

/// An idempotency key: 1 to 255 bytes of visible ASCII, other than two quotes.
///
/// That is what servers take at most; many take less. 36 characters, the length of a UUID, fit
/// nearly everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(HeaderValue);

impl Key {
    const MAX_LEN: usize = 255;

    /// `text` as a key.
    ///
    /// # Errors
    /// If `text` is empty, is longer than 255 bytes, or has anything in it but visible ASCII. A
    /// space is not visible. Two quotes are an empty string to servers that read keys as the IETF's
    /// draft demands.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        let is_short = (1..=Self::MAX_LEN).contains(&text.len());
        let is_key = || KeyField::of_value(text.as_bytes()).is_key();
        let is_visible = || text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_valid = is_short && is_visible() && is_key();
        let value = is_valid.then(|| HeaderValue::from_str(text).ok());
        value.flatten().map(Self).ok_or(InvalidKey(()))
    }

    /// `uuid` as a key.
    pub(crate) fn of_uuid(uuid: Uuid) -> Option<Self> {
        let mut text = [0; Hyphenated::LENGTH];
        let text = uuid.hyphenated().encode_lower(&mut text);
        // Always a key, as it is 36 bytes of visible ASCII.
        HeaderValue::from_str(text).ok().map(Self)
    }

    /// The key's text, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Visible ASCII always is a `str`.
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn into_header_value(self) -> HeaderValue {
        self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_that_is_neither_empty_nor_too_long() {
        for right in ["1", "order-42", r#"a"\b"#, &"~".repeat(255)] {
            assert_eq!(Key::new(right).unwrap().as_str(), right);
        }
        for wrong in [
            "",
            " ",
            "\"\"",
            "a b",
            "a\n",
            "a\t",
            "\u{7f}",
            "é",
            &"~".repeat(256),
        ] {
            assert_eq!(Key::new(wrong), Err(InvalidKey(())), "{wrong:?}");
        }
    }
}
