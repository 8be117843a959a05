use std::{iter, mem};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header fields of a request, to be written into further ones: as text in one piece of memory.
///
/// A map would allocate twice; a list of clones once, and once more for each value that was made for this request. Nearly all
/// calls need neither, as their first attempt is answered.
pub(crate) enum Fields {
    /// As they were copied.
    Fresh(Vec<u8>),
    /// From the first further attempt on, whose values are slices of it.
    Shared(Bytes),
}

/// What a field takes at the most in most requests.
const USUAL_BYTES: usize = 80;
/// Set in the length of a value that must not be shown.
const SENSITIVE: u64 = 1 << 63;

impl Fields {
    /// Those of `headers`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut text = Vec::with_capacity(headers.len() * USUAL_BYTES);
        for (name, value) in headers {
            let name = name.as_str();
            let sensitive = if value.is_sensitive() { SENSITIVE } else { 0 };
            text.put_u64_ne(name.len() as u64);
            text.put_u64_ne(value.len() as u64 | sensitive);
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(value.as_bytes());
        }
        Self::Fresh(text)
    }

    /// Adds them to `headers`.
    pub(crate) fn write(&mut self, headers: &mut HeaderMap) {
        if let Self::Fresh(text) = self {
            *self = Self::Shared(mem::take(text).into());
        }
        if let Self::Shared(text) = self {
            let fields = || {
                let mut rest = &text[..];
                iter::from_fn(move || next(&mut rest))
            };
            headers.reserve(fields().count());
            for (name, value, is_sensitive) in fields() {
                // They are valid, as they were before.
                let name = HeaderName::from_lowercase(name);
                let value = HeaderValue::from_maybe_shared(text.slice_ref(value));
                if let (Ok(name), Ok(mut value)) = (name, value) {
                    value.set_sensitive(is_sensitive);
                    headers.append(name, value);
                }
            }
        }
    }
}

/// Takes a field off `text`: its name, its value, and whether that is sensitive.
fn next<'t>(text: &mut &'t [u8]) -> Option<(&'t [u8], &'t [u8], bool)> {
    let name = text.try_get_u64_ne().ok()?;
    let value = text.try_get_u64_ne().ok()?;
    let (name, rest) = text.split_at_checked(name as usize)?;
    let (bytes, rest) = rest.split_at_checked((value & !SENSITIVE) as usize)?;
    *text = rest;
    Some((name, bytes, value & SENSITIVE != 0))
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, AUTHORIZATION};
    use proptest::prelude::*;

    use super::*;

    fn written(headers: &HeaderMap) -> [HeaderMap; 2] {
        let mut fields = Fields::of(headers);
        [(); 2].map(|()| {
            let mut again = HeaderMap::new();
            fields.write(&mut again);
            again
        })
    }

    #[test]
    fn a_sensitive_value_stays_sensitive() {
        let mut headers = HeaderMap::new();
        let mut secret = HeaderValue::from_static("Bearer secret");
        secret.set_sensitive(true);
        headers.insert(AUTHORIZATION, secret);
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        for again in written(&headers) {
            assert!(again[AUTHORIZATION].is_sensitive());
            assert!(!again[ACCEPT].is_sensitive());
        }
    }

    proptest! {
        /// Names that are standard and others, values of any bytes that are allowed, several values of one name.
        #[test]
        fn what_is_written_is_what_was_there_each_time(
            fields in proptest::collection::vec(
                (
                    prop_oneof!["accept|cookie|content-type|x-a", "[-!#$%&'*+.^_`|~0-9a-z]{1,80}"],
                    proptest::collection::vec(
                        any::<u8>().prop_filter("allowed", |b| (*b >= 32 && *b != 127) || *b == b'\t'),
                        0..100,
                    ),
                ),
                0..20,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                let name = HeaderName::try_from(name).unwrap();
                headers.append(name, HeaderValue::from_bytes(&value).unwrap());
            }
            for again in written(&headers) {
                prop_assert!(again.iter().eq(headers.iter()));
            }
        }
    }
}
