use std::fmt;

use bytes::Bytes;

/// The body of a request, as it was kept.
///
/// Its content is not shown by `Debug`: nobody knows what is in it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload {
    /// All of it.
    Whole(Bytes),
    /// It was longer than may be kept. What is here is its beginning, which may be nothing; it cannot be sent again.
    Truncated(Bytes),
    /// It was streamed, and could not be kept: it did not end in time, it failed, it had trailers, or it can be read only
    /// once. It cannot be sent again.
    Gone,
    /// Secrets were taken out of it by a [`BodyScrubber`](crate::BodyScrubber): it is for reading, and cannot be sent again.
    Scrubbed(Bytes),
    /// It is encrypted, and only a store that has the key can open it: the others cannot send it again.
    Sealed(Bytes),
}

impl Payload {
    /// The word for its kind: `whole`, `truncated`, `gone`, `scrubbed` or `sealed`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Whole(_) => "whole",
            Self::Truncated(_) => "truncated",
            Self::Gone => "gone",
            Self::Scrubbed(_) => "scrubbed",
            Self::Sealed(_) => "sealed",
        }
    }

    /// What is there of it; nothing of one that is gone. Of a sealed one, its cipher text.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match self {
            Self::Whole(bytes)
            | Self::Truncated(bytes)
            | Self::Scrubbed(bytes)
            | Self::Sealed(bytes) => bytes,
            Self::Gone => &NONE,
        }
    }

    /// The payload that has this [`kind`](Self::kind) and these [`bytes`](Self::bytes), for stores to read; `None` for a kind that
    /// is not known.
    #[must_use]
    pub fn of(kind: &str, bytes: Bytes) -> Option<Self> {
        Some(match kind {
            "whole" => Self::Whole(bytes),
            "truncated" => Self::Truncated(bytes),
            "gone" => Self::Gone,
            "scrubbed" => Self::Scrubbed(bytes),
            "sealed" => Self::Sealed(bytes),
            _ => return None,
        })
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.kind(), self.bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_content_is_not_shown() {
        let payload = Payload::Whole(Bytes::from_static(b"card=4242"));
        assert_eq!(format!("{payload:?}"), "whole (9 bytes)");
    }

    #[test]
    fn kind_and_bytes_are_all_there_is() {
        let bytes = Bytes::from_static(b"a");
        for payload in [
            Payload::Whole(bytes.clone()),
            Payload::Truncated(bytes.clone()),
            Payload::Scrubbed(bytes.clone()),
            Payload::Sealed(bytes),
            Payload::Gone,
        ] {
            let again = Payload::of(payload.kind(), payload.bytes().clone());
            assert_eq!(again, Some(payload));
        }
        assert_eq!(Payload::of("eaten", Bytes::new()), None);
    }
}
