use http::HeaderValue;

use crate::Key;

/// How a key is written in the header field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFormat {
    /// As it is: what nearly all servers take, some of which refuse quotes.
    #[default]
    Raw,
    /// As a string of RFC 9651 (Structured Fields), in double quotes: what the IETF's draft
    /// demands.
    StructuredField,
}

impl KeyFormat {
    /// `None` never happens: a key has no byte that a header field could not hold.
    pub(crate) fn write(self, key: Key) -> Option<HeaderValue> {
        match self {
            Self::Raw => Some(key.into_header_value()),
            Self::StructuredField => HeaderValue::try_from(quoted(key.as_str())).ok(),
        }
    }
}

/// RFC 9651, section 4.1.6: in double quotes, with a backslash before each quote and backslash.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(format: KeyFormat, key: &str) -> HeaderValue {
        format.write(Key::new(key).unwrap()).unwrap()
    }

    #[test]
    fn a_raw_key_is_left_as_it_is() {
        assert_eq!(write(KeyFormat::Raw, r#"a"b\c"#), r#"a"b\c"#);
    }

    // draft-ietf-httpapi-idempotency-key-header, section 2.1: "Its value MUST be a String"
    #[test]
    fn a_structured_key_is_a_string_with_quotes_and_backslashes_escaped() {
        let uuid = "8e03978e-40d5-43e8-bc93-6894a57f9324";
        assert_eq!(
            write(KeyFormat::StructuredField, uuid),
            format!("\"{uuid}\"")
        );
        assert_eq!(
            write(KeyFormat::StructuredField, r#"a"b\c"#),
            r#""a\"b\\c""#
        );
    }
}
