//! The names and values of a query, however hostile.

/// `query` with some values replaced. `replace` gets the [clean](clean_name) name and the value as
/// it is written, and returns the new value, if any.
///
/// Values end at `&`. Some servers also separate at `;`, so names are looked for after a `;`. Other
/// servers take the text after a `;` as part of the value. So if a value is replaced, everything up
/// to the next `&` is replaced.
pub(crate) fn rewrite(
    query: &str,
    mut replace: impl FnMut(&str, &str) -> Option<String>,
) -> String {
    let mut written = String::with_capacity(query.len());
    for (index, segment) in query.split('&').enumerate() {
        if index > 0 {
            written.push('&');
        }
        let mut from = 0;
        let replaced = segment.split_inclusive(';').find_map(|pair| {
            let start = from;
            from += pair.len();
            let end = start + pair.trim_end_matches(';').find('=')?;
            let new = replace(&clean_name(&segment[start..end]), &segment[end + 1..])?;
            Some((end + 1, new))
        });
        match replaced {
            Some((kept, new)) => {
                written.push_str(&segment[..kept]);
                written.push_str(&new);
            }
            None => written.push_str(segment),
        }
    }
    written
}

/// A name as servers read it: decoded, and without surrounding space, which may be written as `+`.
pub(crate) fn clean_name(name: &str) -> String {
    let decoded = decode(&name.replace('+', " "));
    let name = decoded.trim_matches(|char: char| char.is_whitespace() || char.is_control());
    name.to_owned()
}

/// A [clean](clean_name) name in lower case, so that two names that read alike are equal.
pub(crate) fn normal_name(name: &str) -> String {
    clean_name(name).to_lowercase()
}

/// `text` with its percent-encoded bytes decoded; wrongly encoded parts stay as they are.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |index| char::from(*bytes.get(index)?).to_digit(16);
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// `text` with all but RFC 3986's unreserved characters percent-encoded.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::secret_names::SecretNames;

    fn withhold(query: &str) -> String {
        let names = SecretNames::new();
        rewrite(query, |name, _| {
            names.is_secret(name).then(|| "-".to_owned())
        })
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        for secret in [
            "token=abc",
            "TOKEN=abc",
            "%74oken=abc",
            "%54%6f%4B%65n=abc",
            "%20token=abc",
            "+token=abc",
            "token%00=abc",
            "user[token]=abc",
            "token[]=abc",
            "%61pi%5Fkey=abc",
            "token==abc",
            "token=abc;def",
            "to\u{212a}en=abc",
        ] {
            let (name, _) = secret.split_once('=').unwrap();
            assert_eq!(withhold(secret), format!("{name}=-"));
            let among = format!("a=1&{secret}&b=%zz;c=3");
            assert_eq!(withhold(&among), format!("a=1&{name}=-&b=%zz;c=3"));
        }
    }

    #[test]
    fn a_secret_after_a_semicolon_is_found_and_ends_at_the_next_ampersand() {
        assert_eq!(withhold("a=1;token=x;b=2&c=3"), "a=1;token=-&c=3");
        assert_eq!(withhold("a;token=x"), "a;token=-");
        assert_eq!(withhold(";;token=x"), ";;token=-");
    }

    #[test]
    fn what_is_no_secret_is_left_as_it_is() {
        for query in [
            "",
            "&",
            "&&;;=&",
            "token",
            "tokens=1",
            "a=token",
            "=token=1",
            "a=%74oken&%",
            "%2574oken=1",
            "a=1&a=2",
        ] {
            assert_eq!(withhold(query), query);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let text = "a b&c=ü%41";
        assert_eq!(encode(text), "a%20b%26c%3D%C3%BC%2541");
        assert_eq!(decode(&encode(text)), text);
        assert_eq!(decode("%"), "%");
        assert_eq!(decode("%4"), "%4");
        assert_eq!(decode("%+1%zz%41"), "%+1%zzA");
    }
}
