//! Which names belong to secrets.
//!
//! It is impossible to keep a list of all fields that hold credentials: each provider has its own.
//! So a name is split into its words, and some words make it a secret:
//!
//! ```text
//!  X-Shopify-Access-Token   -> x shopify access [token]              a secret
//!  AWSSecretKey             -> aws [secret] key                      a secret
//!  apikey                   -> api|[key]: words written as one       a secret
//!  nextPageToken            -> next page token: "page" says what of  none
//!  token_type               -> token type: says something of one     none
//! ```
//!
//! What is withheld must be supplied again for a redrive. So the neighbouring words distinguish
//! names that only look like secrets. A name in doubt is a secret.

use super::secret_words::{
    ABOUT, ANYWHERE, AT_THE_END, NO_KEYS, PLAIN, PLAIN_KEYS, PLAIN_SIGNS, PLAIN_TOKENS, SECRET,
    SECRET_CODES, SECRET_KEYS, SECRET_TICKETS, SECRET_TOKENS, STRONG,
};

/// Which names are secret: by their words, unless the caller says otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecretNames {
    /// In lower case.
    secret: Vec<String>,
    /// In lower case.
    plain: Vec<String>,
}

impl SecretNames {
    /// The names that are secret by their words.
    pub(crate) const fn new() -> Self {
        Self {
            secret: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// `name` is secret, whatever its words are.
    pub(crate) fn add_secret(&mut self, name: &str) {
        let name = name.to_lowercase();
        self.plain.retain(|other| *other != name);
        self.secret.push(name);
    }

    /// `name` is not secret, whatever its words are.
    pub(crate) fn add_plain(&mut self, name: &str) {
        let name = name.to_lowercase();
        self.secret.retain(|other| *other != name);
        self.plain.push(name);
    }

    /// Whether `name` is secret, or a part of it in brackets is, as in `user[password]`. Upper case
    /// marks where words begin, and is otherwise ignored.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        if self.is_plain(name) {
            return false;
        }
        let mut parts = name.split(['[', ']']).filter(|part| !part.is_empty());
        parts.any(|part| self.is_secret_part(part)) || self.is_secret_part(name)
    }

    /// Whether the caller has said that `name` is not secret.
    pub(crate) fn is_plain(&self, name: &str) -> bool {
        self.plain.contains(&name.to_lowercase())
    }

    fn is_secret_part(&self, part: &str) -> bool {
        let lower = part.to_lowercase();
        self.secret.contains(&lower)
            || !self.plain.contains(&lower) && (by_words(&words(part)) || by_words(&words(&lower)))
    }
}

/// The words of a name in lower case, without numbers: `AWSSecretKey2` has `aws`, `secret` and `key`.
fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = Vec::new();
    let mut word = String::new();
    for (at, &char) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let after = chars.get(at + 1);
        let begins = char.is_uppercase()
            && (before.is_some_and(|before| before.is_lowercase())
                || after.is_some_and(|after| after.is_lowercase()));
        if begins || !char.is_alphabetic() {
            words.push(std::mem::take(&mut word));
        }
        if char.is_alphabetic() {
            word.extend(char.to_lowercase());
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

fn by_words(words: &[String]) -> bool {
    let whole = words.concat();
    if PLAIN.contains(&whole.as_str()) {
        return false;
    }
    if SECRET.contains(&whole.as_str()) {
        return true;
    }
    let Some(last) = words.last() else {
        return false;
    };
    let is_about = ABOUT.contains(&last.as_str()) && words.len() > 1;
    !is_about && (0..words.len()).any(|at| is_secret_word(words, at))
}

/// Whether the word at `at` makes the name a secret, given its neighbours.
fn is_secret_word(words: &[String], at: usize) -> bool {
    let word = words.get(at).map_or("", String::as_str);
    let before = at.checked_sub(1).and_then(|at| words.get(at));
    let before = before.map_or("", String::as_str);
    let after = words.get(at + 1).map_or("", String::as_str);
    let is_last = after.is_empty();
    let is_sole = is_last && matches!(before, "" | "x") && at < 2;
    match word {
        "key" => is_secret_key(before, after),
        "keys" => SECRET_KEYS.contains(&before),
        "token" => !PLAIN_TOKENS.contains(&before),
        "tokens" => SECRET_TOKENS.contains(&before),
        "code" => is_sole || is_last && SECRET_CODES.contains(&before),
        "ticket" => is_sole || is_last && SECRET_TICKETS.contains(&before),
        "sid" => is_sole || is_last && matches!(before, "connect" | "php"),
        "pass" | "pin" | "sign" => is_last && !PLAIN_SIGNS.contains(&before),
        "mfa" | "oauth" | "pw" => is_last,
        "phrase" => matches!(before, "pass" | "recovery" | "secret" | "seed"),
        "string" => before == "connection",
        "request" => before == "signed",
        // An id is not a secret, unless it grants access, as a session's id does.
        "credential" | "credentials" | "signature" => after != "id",
        word if STRONG.contains(&word) => true,
        word => is_joined(word),
    }
}

fn is_secret_key(before: &str, after: &str) -> bool {
    match after {
        "" | "base" | "header" | "value" => !PLAIN_KEYS.contains(&before),
        "id" => before == "access",
        "md" | "sha" => false,
        _ => SECRET_KEYS.contains(&before),
    }
}

/// Whether several words that are written as one make a secret.
fn is_joined(word: &str) -> bool {
    let ends = |end: &&str| word.ends_with(*end);
    if let Some(rest) = word.strip_suffix("token") {
        return !is_made_of(rest, PLAIN_TOKENS);
    }
    if let Some(rest) = word.strip_suffix("key") {
        return !NO_KEYS.contains(&word) && !is_made_of(rest, PLAIN_KEYS);
    }
    AT_THE_END.iter().any(ends) || ANYWHERE.iter().any(|part| word.contains(part))
}

/// Whether `text` is one of these words, or two of them. The end alone is not enough: `backend` is
/// not the word `end`.
fn is_made_of(text: &str, words: &[&str]) -> bool {
    let is_word = |text: &str| words.contains(&text);
    let mut rests = words.iter().filter_map(|word| text.strip_prefix(word));
    is_word(text) || rests.any(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_secret(name: &str) -> bool {
        SecretNames::new().is_secret(name)
    }

    #[test]
    fn a_name_has_the_words_that_its_separators_and_its_case_tell() {
        for (name, expected) in [
            ("X-Shopify-Access-Token", "x shopify access token"),
            ("AWSSecretKey2", "aws secret key"),
            ("nextPageToken", "next page token"),
            ("oauth2_token", "oauth token"),
            ("x-amz-content-sha256", "x amz content sha"),
            ("$skip.token", "skip token"),
            ("ÜberToken", "über token"),
            ("", ""),
            ("---", ""),
        ] {
            assert_eq!(words(name).join(" "), expected, "{name}");
        }
    }

    #[test]
    fn a_secret_is_one_however_it_is_written() {
        for name in [
            "access_token",
            "accessToken",
            "AccessToken",
            "ACCESS_TOKEN",
            "access-token",
            "access.token",
            "accesstoken",
            "x_access_token_2",
            "user[access_token]",
            "access_token[]",
            "aCCeSSToKeN",
            "to\u{212a}en",
        ] {
            assert!(is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_joined_name_is_plain_only_if_all_of_it_is_plain_words() {
        for name in [
            "backendtoken",
            "frontendtoken",
            "sendtoken",
            "spendtoken",
            "vendortoken",
            "homepagetoken",
            "admintoken",
            "restarttoken",
            "asynctoken",
            "profilekey",
            "borderkey",
            "researchkey",
            "preorderkey",
            "gitflagkey",
            "bitmapkey",
            "loginmessagekey",
            "X-Backendtoken",
            "user[frontendtoken]",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "endtoken",
            "pagetoken",
            "nextpagetoken",
            "continuationtoken",
            "primarykey",
            "idempotencykey",
            "filekey",
            "documentsortkey",
            "monkey",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn the_callers_word_counts_more_than_the_words_in_a_name() {
        let mut names = SecretNames::new();
        names.add_secret("Card");
        names.add_plain("X-Session-Affinity");
        assert!(names.is_secret("card") && names.is_secret("order[card]"));
        assert!(!names.is_secret("x-session-affinity"));
        assert!(names.is_secret("x-session"));
        names.add_plain("card");
        assert!(!names.is_secret("card"));
        names.add_secret("CARD");
        assert!(names.is_secret("card"));
    }
}
