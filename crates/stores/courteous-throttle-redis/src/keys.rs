use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The names of one schedule's keys in Redis. One hash tag keeps them on the same node of a
/// cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys([String; 3]);

impl Keys {
    /// Makes the keys for the limit `name`, or for one of its `part`s. The keys do not show which
    /// part it is.
    pub(crate) fn new(name: &str, part: Option<&[u8]>) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        let mut tag = if !name.is_empty() && name.len() <= 64 && name.bytes().all(plain) {
            name.to_owned()
        } else {
            hashed(&[name.as_bytes()])
        };
        if let Some(part) = part {
            // The name is in the hash too, so the same credential at two limits has different keys.
            tag.push('#');
            tag.push_str(&hashed(&[name.as_bytes(), part]));
        }
        let key = format!("courteous:{{{tag}}}");
        Self([key.clone(), format!("{key}:seen"), format!("{key}:line")])
    }

    pub(crate) const fn names(&self) -> &[String; 3] {
        &self.0
    }
}

/// Returns 128 bits of a hash over the `parts`, each with its length before it.
fn hashed(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(16)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str) -> &str {
        let open = key.find('{').unwrap();
        &key[open + 1..key.find('}').unwrap()]
    }

    #[test]
    fn all_keys_of_a_schedule_have_one_hash_tag() {
        for name in ["stripe", "", "}", "{}", "a{b}c", "späti", &"x".repeat(65)] {
            for part in [None, Some(&b"secret"[..])] {
                let keys = Keys::new(name, part);
                assert!(!tag(&keys.names()[0]).is_empty());
                assert!(
                    keys.names()
                        .iter()
                        .all(|key| tag(key) == tag(&keys.names()[0]))
                );
            }
        }
    }

    #[test]
    fn neither_a_credential_nor_a_match_of_two_can_be_seen() {
        let [one, other] =
            ["one", "other"].map(|name| Keys::new(name, Some(b"secret")).names()[0].clone());
        assert!(!one.contains("secret"));
        assert_ne!(tag(&one).rsplit('#').next(), tag(&other).rsplit('#').next());
    }

    #[test]
    fn other_names_and_parts_have_other_keys() {
        let keys = [
            Keys::new("ab", Some(b"c")),
            Keys::new("a", Some(b"bc")),
            Keys::new("ab", None),
            Keys::new("a", Some(b"")),
            Keys::new("a", None),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|other| other != one));
        }
    }
}
