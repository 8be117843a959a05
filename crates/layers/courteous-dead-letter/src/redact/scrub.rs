use super::{
    query::{clean_name, decode},
    secret_names::SecretNames,
    secret_values::{ends_word, is_random, is_token},
};

/// The mark that replaces a secret in a text.
const MARK: &str = "[withheld]";

/// A shorter secret is recognised only as a word of its own: `me` is not searched for in `time`.
const LONG: usize = 6;

/// No text is longer than this, in bytes.
const MAX_TEXT: usize = 1024;

/// Removes secrets from texts: the secrets that the request had, and whatever looks like a secret
/// in a URL.
pub(crate) struct Scrubber {
    names: SecretNames,
    known: Vec<String>,
}

impl Scrubber {
    pub(crate) const fn new(names: SecretNames) -> Self {
        Self {
            names,
            known: Vec::new(),
        }
    }

    /// Adds a secret, also in the form in which `Debug` would show it.
    pub(crate) fn learn(&mut self, secret: &str) {
        let secret = secret.trim();
        let shown = format!("{secret:?}");
        for secret in [secret, shown.trim_matches('"')] {
            let secret = secret.to_owned();
            if !secret.is_empty() && !self.known.contains(&secret) {
                self.known.push(secret);
            }
        }
        // The longest first, so that no part of a secret is left.
        self.known.sort_by_key(|known| usize::MAX - known.len());
    }

    /// Adds the value of a header field, and the parts of it that could be shown alone: credentials
    /// without their scheme, a cookie without its name.
    pub(crate) fn learn_field(&mut self, value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        self.learn(&value);
        let words = value.split_whitespace().count();
        let is_scheme = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphabetic());
        for (index, word) in value.split_whitespace().enumerate() {
            if words == 1 || index > 0 || !is_scheme(word) {
                self.learn_part(word);
                let word = word.trim_matches([';', ',', '"']);
                let (_, value) = word.split_once('=').unwrap_or(("", word));
                self.learn_part(value.trim_matches('"'));
            }
        }
        for cookie in value.split(';') {
            let (_, value) = cookie.split_once('=').unwrap_or(("", cookie));
            self.learn_part(value);
        }
    }

    /// Adds a part of a secret, unless it is so short that it may be anything, as in the cookie
    /// `lang=en`.
    fn learn_part(&mut self, part: &str) {
        if part.len() >= LONG {
            self.learn(part);
        }
    }

    /// `user` or `user:password`.
    pub(crate) fn learn_userinfo(&mut self, userinfo: &str) {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        for text in [userinfo, password] {
            self.learn(text);
            self.learn(&decode(text));
        }
        self.learn_part(user);
        self.learn_part(&decode(user));
    }

    /// Whether `text` holds a secret that the request had.
    pub(crate) fn knows_part_of(&self, text: &str) -> bool {
        self.known.iter().any(|known| find(text, known).is_some())
    }

    /// `text` without the secrets.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for known in &self.known {
            let mut from = 0;
            while let Some(at) = find(&text[from..], known) {
                let at = from + at;
                text.replace_range(at..at + known.len(), MARK);
                from = at + MARK.len();
            }
        }
        let text = self.without_values(&without_userinfo(&text));
        without_credentials(&self.without_members(&text))
    }

    /// The texts of an error and its causes, outermost first, without secrets, and cut to a maximum
    /// length.
    pub(crate) fn error(&self, error: &(dyn std::error::Error + 'static)) -> String {
        let mut text = String::new();
        let causes = std::iter::successors(Some(error), |error| error.source());
        for cause in causes.take(MAX_TEXT) {
            let cause = cause.to_string();
            // Some errors show their cause themselves.
            if text.ends_with(&cause) {
                continue;
            }
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        let mut text = crate::letter::without_nul(self.scrub(&text));
        while text.len() > MAX_TEXT {
            text.pop();
        }
        text
    }

    /// `"name":"value"` of JSON without the value, for all secret names.
    fn without_members(&self, text: &str) -> String {
        let mut scrubbed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, value)) = member(rest) {
            scrubbed.push_str(before);
            rest = value;
            if self.names.is_secret(name) {
                let mut escaped = false;
                let end = value.find(|char| match (escaped, char) {
                    (false, '"') => true,
                    _ => {
                        escaped = !escaped && char == '\\';
                        false
                    }
                });
                let end = end.unwrap_or(value.len());
                if end > 0 {
                    scrubbed.push_str(MARK);
                }
                rest = &value[end..];
            }
        }
        scrubbed.push_str(rest);
        scrubbed
    }

    /// `name=value` without the value, for all secret names.
    fn without_values(&self, text: &str) -> String {
        let mut scrubbed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(equals) = rest.find('=') {
            let (before, value) = (&rest[..equals], &rest[equals + 1..]);
            let name = before.rfind(|char| !is_of_name(char)).map_or(before, |at| {
                let mut name = before[at..].chars();
                name.next();
                name.as_str()
            });
            scrubbed.push_str(&rest[..=equals]);
            rest = value;
            // `code=8` belongs to an error; only a `code` in a URL is a secret.
            let is_in_url = before[..before.len() - name.len()].ends_with(['?', '&', ';', '#']);
            let is_secret =
                |name: &str| self.names.is_secret(name) && (is_in_url || name != "code");
            if is_secret(&clean_name(name)) {
                let end = value.find(ends_value).unwrap_or(value.len());
                if end > 0 {
                    scrubbed.push_str(MARK);
                }
                rest = &value[end..];
            }
        }
        scrubbed.push_str(rest);
        scrubbed
    }
}

/// `text` without credentials recognised by their form: words that are credentials, and what
/// follows the name of a scheme.
fn without_credentials(text: &str) -> String {
    let mut scrubbed = String::with_capacity(text.len());
    let mut follows_scheme = false;
    for piece in text.split_inclusive(ends_word) {
        let word = piece.trim_end_matches(ends_word);
        let is_secret = is_token(word) || follows_scheme && is_random(word);
        scrubbed.push_str(if is_secret { MARK } else { word });
        scrubbed.push_str(&piece[word.len()..]);
        let schemes = ["basic", "bearer", "negotiate", "ntlm", "token"];
        follows_scheme = schemes
            .iter()
            .any(|scheme| word.eq_ignore_ascii_case(scheme));
    }
    scrubbed
}

/// Where `secret` is in `text`.
fn find(text: &str, secret: &str) -> Option<usize> {
    if secret.len() >= LONG {
        return text.find(secret);
    }
    let mut all = text.match_indices(secret);
    let found = all.find(|(at, _)| {
        let before = text[..*at].chars().next_back();
        let after = text[at + secret.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    });
    found.map(|(at, _)| at)
}

/// The first member of an object in `text` whose value is a string: what comes before the value, the name, and the rest.
fn member(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices(':').find_map(|(colon, _)| {
        let value = text[colon + 1..].trim_start().strip_prefix('"')?;
        let before = &text[..text.len() - value.len()];
        let name = text[..colon].trim_end().strip_suffix('"')?;
        let name = &name[name.rfind('"')? + 1..];
        Some((before, name, value))
    })
}

/// `scheme://user@host` without the user.
fn without_userinfo(text: &str) -> String {
    let mut scrubbed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let start = at + 3;
        scrubbed.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|char: char| matches!(char, '/' | '?' | '#') || ends_value(char));
        if let Some(user) = rest[..end.unwrap_or(rest.len())].rfind('@') {
            scrubbed.push_str(MARK);
            rest = &rest[user..];
        }
    }
    scrubbed.push_str(rest);
    scrubbed
}

fn is_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '~' | '%' | '+' | '[' | ']')
}

/// Whether `char` ends a value in a URL. A character that could be part of the value does not end
/// it.
fn ends_value(char: char) -> bool {
    char.is_whitespace() || matches!(char, '&' | '"' | '<' | '>')
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn scrubber(known: &[&str]) -> Scrubber {
        let mut scrubber = Scrubber::new(SecretNames::new());
        known.iter().for_each(|known| scrubber.learn(known));
        scrubber
    }

    #[test]
    fn what_looks_like_a_secret_in_a_url_is_withheld() {
        for (text, expected) in [
            (
                "for url (https://me:pw@a.example/b?x=1&Token=abc&y=2): refused",
                "for url (https://[withheld]@a.example/b?x=1&Token=[withheld]&y=2): refused",
            ),
            (
                "https://a.example/?sig=abc",
                "https://a.example/?sig=[withheld]",
            ),
            ("\"/?%74oken=abc\"", "\"/?%74oken=[withheld]\""),
            ("token=", "token="),
            ("token=a token=b", "token=[withheld] token=[withheld]"),
            ("token=a=b;c", "token=[withheld]"),
            ("http://a@b@c.example/", "http://[withheld]@c.example/"),
            ("http://a.example/@b", "http://a.example/@b"),
            ("mytokens=1, primary_key=2", "mytokens=1, primary_key=2"),
            ("error code=8", "error code=8"),
            ("/?code=8", "/?code=[withheld]"),
            ("x#access_token=a", "x#access_token=[withheld]"),
            (
                r#"{"id":"1","accessToken": "a\"b","n":2} {"tok":"#,
                r#"{"id":"1","accessToken": "[withheld]","n":2} {"tok":"#,
            ),
            (
                "got Bearer 0123456789abcdef, no Bearer of news",
                "got Bearer [withheld], no Bearer of news",
            ),
            ("(ghp_0123456789abcdefghij)", "([withheld])"),
            ("ü=token=x", "ü=token=[withheld]"),
            ("", ""),
        ] {
            assert_eq!(scrubber(&[]).scrub(text), expected);
        }
    }

    #[test]
    fn a_long_secret_is_found_anywhere_and_a_short_one_as_a_word() {
        let scrubber = scrubber(&["hunter2hunter2", "hunter2", "me"]);
        let text = "xhunter2hunter2x hunter2 me time (me) ";
        let expected = "x[withheld]x [withheld] [withheld] time ([withheld]) ";
        assert_eq!(scrubber.scrub(text), expected);
        assert!(scrubber.knows_part_of("for me") && !scrubber.knows_part_of("time"));
    }

    #[test]
    fn a_secret_is_found_as_debug_shows_it() {
        let secret = "pass\\word \u{1}";
        let scrubber = scrubber(&[secret]);
        for text in [format!("{secret:?}"), format!("\"{secret}\"")] {
            assert_eq!(scrubber.scrub(&text), "\"[withheld]\"");
        }
    }

    #[test]
    fn credentials_are_known_without_their_scheme_and_cookies_without_their_name() {
        let mut scrubber = scrubber(&[]);
        scrubber.learn_field(b"Bearer abcdefgh");
        scrubber.learn_field(b"session=ijklmnop; theme=qrstuvwx");
        scrubber.learn_field(b"Digest username=\"mufasa\", response=\"6629fae4\"");
        for secret in ["abcdefgh", "ijklmnop", "qrstuvwx", "mufasa", "6629fae4"] {
            assert_eq!(scrubber.scrub(&format!("<{secret}>")), "<[withheld]>");
        }
        assert_eq!(scrubber.scrub("no Bearer here"), "no Bearer here");
    }

    #[test]
    fn an_error_is_shown_with_its_causes_and_not_too_long() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("not sent\0")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = Outer(io::Error::other("no hunter2"));
        let scrubber = scrubber(&["hunter2"]);
        assert_eq!(scrubber.error(&error), "not sent: no [withheld]");
        // The text is cut after the secrets are removed, so the cut leaves no half of a secret.
        let long = "ü".repeat(511) + "hunter2hunter2";
        let text = scrubber.error(&io::Error::other(long));
        assert_eq!(text, "ü".repeat(511) + "[w");
    }
}
