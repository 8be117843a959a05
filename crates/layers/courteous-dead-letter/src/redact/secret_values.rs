//! Values that are credentials by their form, whatever their name is.

/// The prefixes of some providers' credentials.
const PREFIXES: &[&str] = &[
    "AIza",
    "EAAC",
    "SG.",
    "dop_v1_",
    "ghp_",
    "gho_",
    "ghr_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "hf_",
    "npm_",
    "pypi-",
    "rk_live_",
    "rk_test_",
    "shpat_",
    "shpss_",
    "sk-",
    "sk_live_",
    "sk_test_",
    "whsec_",
    "xapp-",
    "xoxa-",
    "xoxb-",
    "xoxe.",
    "xoxp-",
    "xoxr-",
    "xoxs-",
    "ya29.",
];

/// The minimum length of the part after a prefix.
const REST: usize = 16;

/// Whether the value of a header field or a query parameter is a credential, or holds one.
pub(crate) fn is_credential(value: &str) -> bool {
    has_scheme(value) || value.contains("PRIVATE KEY-----") || value.split(ends_word).any(is_token)
}

/// Whether `value` has the form of an `Authorization` field (RFC 9110, section 11.4).
fn has_scheme(value: &str) -> bool {
    let Some((scheme, rest)) = value.trim().split_once(' ') else {
        return false;
    };
    let rest = rest.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "dpop" | "hawk" | "negotiate" | "ntlm" | "ssws" => true,
        "aws4-hmac-sha256" | "digest" => rest.contains('='),
        "basic" => is_user_and_password(rest),
        "apikey" | "token" => is_random(rest.trim_start_matches("token=")),
        _ => false,
    }
}

/// Whether a word of a text is a credential on its own.
pub(crate) fn is_token(word: &str) -> bool {
    let is_known = |prefix: &&str| {
        let rest = word.strip_prefix(*prefix);
        rest.is_some_and(|rest| rest.len() >= REST && rest.chars().all(is_of_token))
    };
    is_jwt(word) || is_aws_key(word) || PREFIXES.iter().any(is_known)
}

/// Whether a word that follows a scheme in a text is a credential, and not a word of a language.
pub(crate) fn is_random(word: &str) -> bool {
    word.len() >= REST
        && word.chars().all(is_of_token)
        && word.contains(|char: char| char.is_ascii_digit())
}

/// Whether `char` ends a word of a value or a text.
pub(crate) fn ends_word(char: char) -> bool {
    char.is_whitespace()
        || matches!(
            char,
            ',' | ';'
                | '"'
                | '\''
                | '<'
                | '>'
                | '('
                | ')'
                | '&'
                | '='
                | '?'
                | '#'
                | '['
                | ']'
                | '{'
                | '}'
        )
}

/// Three parts, or five: the first is an object in base64 (RFC 7519, section 3).
fn is_jwt(word: &str) -> bool {
    word.starts_with("eyJ")
        && word.len() >= 2 * REST
        && word.matches('.').count() >= 2
        && word.chars().all(is_of_token)
}

fn is_aws_key(word: &str) -> bool {
    let rest = word.strip_prefix("AKIA").or(word.strip_prefix("ASIA"));
    rest.is_some_and(|rest| {
        rest.len() == 16
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    })
}

/// Whether `word` is a user and a password in base64 (RFC 7617, section 2): there is a colon between them.
fn is_user_and_password(word: &str) -> bool {
    let mut bits = 0_u32;
    for (at, byte) in word.trim_end_matches('=').bytes().enumerate() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return false,
        };
        bits = bits << 6 | u32::from(digit);
        // Of each four base64 digits, all but the first end a byte.
        let shift = [None, Some(4), Some(2), Some(0)][at % 4];
        if shift.is_some_and(|shift| (bits >> shift) as u8 == b':') {
            return true;
        }
    }
    false
}

fn is_of_token(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '~' | '+' | '/' | '=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_known_by_their_form() {
        for value in [
            "Bearer abc",
            "bearer  abc",
            "Basic bWU6aHVudGVyMg==",
            "Digest username=\"me\", response=\"6629\"",
            "AWS4-HMAC-SHA256 Credential=a/b, Signature=c",
            "Token token=0123456789abcdef",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
            "a=1; t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
            "ghp_0123456789abcdefghij",
            "sk_live_0123456789abcdef",
            "xoxb-0123456789-abcdefghij",
            "AKIAIOSFODNN7EXAMPLE",
            "-----BEGIN RSA PRIVATE KEY-----",
        ] {
            assert!(is_credential(value), "{value}");
        }
    }

    #[test]
    fn what_only_begins_like_a_credential_is_none() {
        for value in [
            "",
            "bearer",
            "Basic plan",
            "Token ring",
            "Digest of the week",
            "sk-42",
            "ghp_",
            "eyJhbGciOiJIUzI1NiJ9",
            "AKIA",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "8e03978e-40d5-43e8-bc93-6894a57f9324",
            "application/json; charset=utf-8",
            "-----BEGIN CERTIFICATE-----",
        ] {
            assert!(!is_credential(value), "{value}");
        }
    }
}
