use http::{HeaderMap, HeaderName};

/// What a request's idempotency key field holds, judged as the server will see it.
///
/// A key is exactly one field. Spaces and tabs around its value do not count, as no recipient sees them (RFC 9110, section
/// 5.5). What remains is visible ASCII, or a string of RFC 9651 in double quotes, which may hold spaces, too.
///
/// Only a [`Key`](Self::Key) lets a server recognise a request that it has seen. Everything else is *no key*: a retry must
/// not rely on it, nor may a dead letter.
///
/// ```
/// use courteous_core::KeyField;
/// use http::{HeaderMap, HeaderName, HeaderValue};
///
/// let name = HeaderName::from_static("idempotency-key");
/// let mut headers = HeaderMap::new();
/// headers.insert(&name, HeaderValue::from_static(" order-42 "));
/// assert_eq!(KeyField::of(&headers, &name), KeyField::Key("order-42"));
/// headers.append(&name, HeaderValue::from_static("order-42"));
/// assert_eq!(KeyField::of(&headers, &name), KeyField::Malformed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "callers must decide on each of the four"
)]
pub enum KeyField<'a> {
    /// There is no such field.
    Missing,
    /// The field is there, and holds nothing: it is empty, spaces, or an empty string in quotes.
    Blank,
    /// The field holds something that is no key: several fields, or a value with other bytes than visible ASCII.
    Malformed,
    /// The key, without the spaces around it. Quotes are a part of it.
    Key(&'a str),
}

impl<'a> KeyField<'a> {
    /// Judges the field `name` in `headers`.
    #[must_use]
    pub fn of(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        // A few names are compared faster than one is hashed.
        let mut fields = headers.iter().filter(|(field, _)| *field == name);
        let Some((_, first)) = fields.next() else {
            return Self::Missing;
        };
        let first = Self::of_value(first.as_bytes());
        let is_blank = |field| field == Self::Blank;
        fields.fold(first, |so_far, (_, value)| {
            match is_blank(so_far) && is_blank(Self::of_value(value.as_bytes())) {
                true => Self::Blank,
                false => Self::Malformed,
            }
        })
    }

    /// The key; `None` for anything else.
    #[must_use]
    pub const fn key(self) -> Option<&'a str> {
        match self {
            Self::Key(key) => Some(key),
            _ => None,
        }
    }

    /// Whether it is a key.
    #[must_use]
    pub const fn is_key(self) -> bool {
        matches!(self, Self::Key(_))
    }

    /// Judges the `value` of the only field.
    #[must_use]
    pub fn of_value(value: &'a [u8]) -> Self {
        let value = trim(value);
        let held = unquoted(value).unwrap_or(value);
        if trim(held).is_empty() {
            return Self::Blank;
        }
        let least = match held.len() < value.len() {
            true => b' ',
            false => b'!',
        };
        // Without an early end, so that many bytes are compared at once.
        let is_allowed = |byte: &u8| (least..=b'~').contains(byte);
        let all_allowed = held.iter().fold(true, |all, byte| all & is_allowed(byte));
        match str::from_utf8(value) {
            Ok(key) if all_allowed => Self::Key(key),
            _ => Self::Malformed,
        }
    }
}

/// `value` without the spaces and tabs around it (RFC 9110, section 5.6.3, OWS).
fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| is_blank(byte)).count();
    let value = &value[start..];
    let end = value.iter().rev().take_while(|byte| is_blank(byte)).count();
    &value[..value.len() - end]
}

/// What is between the quotes of a string of RFC 9651 (section 4.2.5), escaped as it is; `None` if `value` is no such string.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    let held = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut rest = held.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => {
                rest.next().filter(|next| matches!(next, b'"' | b'\\'))?;
            }
            b'"' => return None,
            _ => {}
        }
    }
    Some(held)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NAME: HeaderName = HeaderName::from_static("idempotency-key");

    fn of<const N: usize>(values: [&[u8]; N], assert: impl FnOnce(KeyField<'_>)) {
        let mut headers = HeaderMap::new();
        headers.insert("x-other", HeaderValue::from_static("other"));
        for value in values {
            headers.append(NAME, HeaderValue::from_bytes(value).unwrap());
        }
        assert(KeyField::of(&headers, &NAME));
    }

    #[test]
    fn one_field_of_visible_ascii_is_a_key_without_the_spaces_around_it() {
        for (value, key) in [
            ("order-42", "order-42"),
            (" \torder-42\t ", "order-42"),
            ("a,b", "a,b"),
            (r#"a"b\c"#, r#"a"b\c"#),
            (r#""open"#, r#""open"#),
        ] {
            of([value.as_bytes()], |field| {
                assert_eq!(field, KeyField::Key(key), "{value:?}");
                assert!(field.is_key() && field.key() == Some(key));
            });
        }
    }

    // RFC 9651, section 3.3.3: "Strings are zero or more printable ASCII characters (i.e., the range %x20 to %x7E)"
    #[test]
    fn a_string_in_quotes_may_hold_spaces() {
        for key in [r#""a b""#, r#""a""#, r#"" a \"b\" \\""#] {
            of([key.as_bytes()], |field| {
                assert_eq!(field, KeyField::Key(key));
            });
        }
    }

    #[test]
    fn nothing_but_spaces_is_blank_in_quotes_too() {
        for value in ["", " ", "\t", "  \t ", "\"\"", "\"  \"", " \"\" "] {
            of([value.as_bytes()], |field| {
                assert_eq!(field, KeyField::Blank, "{value:?}");
                assert!(!field.is_key() && field.key().is_none());
            });
        }
        of([b"", b" "], |field| assert_eq!(field, KeyField::Blank));
    }

    #[test]
    fn several_fields_or_other_bytes_are_malformed() {
        for value in [
            &b"a b"[..],
            b"a\tb",
            b"not \xff text",
            "\u{e9}".as_bytes(),
            b"\"a\tb\"",
            b"\"\xc3\xa9\"",
            b"\"a\" \"b\"",
            b"\"a b",
            b"\"a \\b\"",
            b"\"a b\\\"",
        ] {
            of([value], |field| {
                assert_eq!(field, KeyField::Malformed, "{value:?}");
            });
        }
        of([b"a", b"b"], |field| assert_eq!(field, KeyField::Malformed));
        of([b"a", b"a"], |field| assert_eq!(field, KeyField::Malformed));
        of([b"", b"a"], |field| assert_eq!(field, KeyField::Malformed));
        of([b"a", b""], |field| assert_eq!(field, KeyField::Malformed));
    }

    #[test]
    fn no_field_is_no_key() {
        of([], |field| assert_eq!(field, KeyField::Missing));
    }
}
