use std::fmt;

use bytes::Bytes;

/// The body of a request, as it was kept.
///
/// `Debug` does not show the content, as it may hold anything.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload {
    /// The whole body.
    Whole(Bytes),
    /// The body was longer than the limit. This is its beginning, which may be empty; the body
    /// cannot be sent again.
    Truncated(Bytes),
    /// The body was streamed, and could not be kept: it did not end in time, it failed, it had
    /// trailers, or it can be read only once. It cannot be sent again.
    Gone,
    /// A [`BodyScrubber`](crate::BodyScrubber) removed secrets from the body: it is for reading,
    /// and cannot be sent again.
    Scrubbed(Bytes),
    /// The body is encrypted. Only a store that has the key can open it; other stores cannot send
    /// it again.
    Sealed(Bytes),
}

impl Payload {
    /// The word for the payload's kind: `whole`, `truncated`, `gone`, `scrubbed` or `sealed`.
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

    /// The bytes that are there: none of a body that is gone, and the cipher text of a sealed body.
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

    /// The payload with this [`kind`](Self::kind) and these [`bytes`](Self::bytes), for stores to
    /// read. `None` if the kind is unknown.
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
