//! Base64 (RFC 4648 section 4), as gRPC writes binary metadata: with or without padding.

/// Decodes `text` into `buffer` and returns the part that was written.
///
/// `None` if `text` is malformed or `buffer` is too small. Bits behind the last whole byte are ignored.
pub(crate) fn decode<'b>(text: &str, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let padded = text.len().is_multiple_of(4);
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 || (padding > 0 && !padded) || digits.len() % 4 == 1 {
        return None;
    }
    let length = digits.len() * 3 / 4;
    let bytes = buffer.get_mut(..length)?;
    for (four, three) in digits.as_bytes().chunks(4).zip(bytes.chunks_mut(3)) {
        let mut bits = 0;
        for place in 0..4 {
            let digit = match four.get(place) {
                Some(&byte) => digit(byte)?,
                None => 0,
            };
            bits = bits << 6 | u32::from(digit);
        }
        let [_, whole @ ..] = bits.to_be_bytes();
        three.copy_from_slice(&whole[..three.len()]);
    }
    Some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<u8>> {
        decode(text, &mut [0; 8]).map(<[u8]>::to_vec)
    }

    // RFC 4648 section 10.
    #[test]
    fn the_test_vectors_are_decoded_with_and_without_padding() {
        for (padded, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(read(padded).as_deref(), Some(plain.as_bytes()), "{padded}");
            let bare = padded.trim_end_matches('=');
            assert_eq!(read(bare).as_deref(), Some(plain.as_bytes()), "{bare}");
        }
        assert_eq!(read("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    }

    #[test]
    fn what_is_no_base64_is_none() {
        for text in [
            "Z",
            "Zm9vY",
            "Zg=",
            "Zm8==",
            "Z===",
            "====",
            "=",
            "Zg==Zg==",
            "Zm 8",
            "Zm-_",
            "Zm8\u{e9}",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_buffer_that_is_too_small_is_none() {
        assert_eq!(read("AAAAAAAAAAA="), Some(vec![0; 8]));
        assert_eq!(read("AAAAAAAAAAAA"), None);
    }
}
