use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::LazyLock,
};

use courteous_core::RequestView;

/// Which requests a server is taken to count alike: those of one method to one path of one origin.
///
/// It is a hash with a key of this process, made by a few multiplications, as each request has one. Two requests that
/// differ have the same one about never; if they do, one may be held up by a quota of the other.
///
/// The origin counts as the request spells it, apart from upper and lower case: `api.example`, `api.example.` and
/// `api.example:443` are three. What is learned from one is not known of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    origin: u64,
    pub(crate) request: NonZeroU64,
}

impl Target {
    /// What the request with this `head` is for. The query does not count.
    #[must_use]
    pub fn of(head: RequestView<'_>) -> Self {
        let key = head.origin_key();
        let scheme = key.scheme().map_or("", |scheme| scheme.as_str()).len() as u64;
        let origin = Hash::new(scheme).with_lower_case(key.authority_as_spelled());
        let request = origin
            .with(head.method().as_str().as_bytes())
            .with(head.uri().path().as_bytes());
        Self {
            origin: origin.state,
            request: request.finish(),
        }
    }
}

/// A quota of one origin, by what its responses name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaName(pub(crate) NonZeroU64);

impl QuotaName {
    /// The quota that a response to a request for `target` calls by all of `names`. Each name has a meaning by
    /// its place.
    #[must_use]
    pub fn new(target: Target, names: &[Option<&str>]) -> Self {
        let hash = names.iter().fold(Hash::new(target.origin), |hash, name| {
            hash.with(name.map_or(b"\xff", str::as_bytes))
        });
        Self(hash.finish())
    }
}

/// Folded multiplication, as in wyhash: 16 bytes in a step. Both factors are masked by keys of this process, so that no
/// choice of bytes makes one of them zero.
#[derive(Clone, Copy)]
struct Hash {
    state: u64,
    keys: [u64; 2],
}

impl Hash {
    fn new(state: u64) -> Self {
        static KEYS: LazyLock<[u64; 2]> = LazyLock::new(|| {
            let random = RandomState::new();
            [random.hash_one(0), random.hash_one(1)]
        });
        Self { state, keys: *KEYS }
    }

    #[inline]
    fn with(self, bytes: &[u8]) -> Self {
        self.with_each(bytes, 0)
    }

    /// As [`with`](Self::with), with letters taken for small ones. Other signs that a host has in it stay apart.
    #[inline]
    fn with_lower_case(self, bytes: &[u8]) -> Self {
        self.with_each(bytes, 0x2020_2020_2020_2020)
    }

    #[inline]
    fn with_each(mut self, bytes: &[u8], or: u64) -> Self {
        // So that what ends here and what begins there cannot be confused, nor texts whose words overlap differently.
        self.state ^= (bytes.len() as u64).wrapping_mul(self.keys[0]);
        let mut rest = bytes;
        while let Some((block, after)) = rest.split_first_chunk::<16>()
            && !after.is_empty()
        {
            let (low, high) = halves(block);
            self.fold(low | or, high | or);
            rest = after;
        }
        let (low, high) = match bytes.last_chunk() {
            Some(last) => halves(last),
            None => ends(bytes),
        };
        self.fold(low | or, high | or);
        self
    }

    #[inline]
    const fn fold(&mut self, low: u64, high: u64) {
        let (one, other) = (self.state ^ low ^ self.keys[0], high ^ self.keys[1]);
        let product = one as u128 * other as u128;
        self.state = (product as u64) ^ (product >> 64) as u64;
    }

    fn finish(self) -> NonZeroU64 {
        NonZeroU64::new(self.state).unwrap_or(NonZeroU64::MIN)
    }
}

const fn halves(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    (both as u64, (both >> 64) as u64)
}

/// The first and the last bytes of less than 16, which are all of them. Reads of fixed sizes that overlap cost less than a
/// copy of just what is there.
#[inline]
fn ends(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    let (first, last) = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => (u32::from_le_bytes(*first), u32::from_le_bytes(*last)),
        _ => match *bytes {
            [] => (0, 0),
            [only] => (only.into(), 0),
            [first, .., last] => (u16::from_le_bytes([first, bytes[1]]).into(), last.into()),
        },
    };
    (first.into(), last.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::{Method, Request, header::HOST};

    use super::*;

    fn target(method: Method, uri: &str) -> Target {
        let request = Request::builder().method(method).uri(uri);
        Target::of(RequestView::of(&request.body(()).unwrap()))
    }

    #[test]
    fn requests_of_one_method_to_one_path_are_one_target() {
        let one = target(Method::GET, "https://api.example/a/b?x=1");
        for same in [
            "https://api.example/a/b",
            "https://API.example/a/b?y",
            "https://api.example/a/b#c",
        ] {
            assert_eq!(target(Method::GET, same), one, "{same}");
        }
        for other in [
            "https://api.example/a",
            "https://api.example/a/B",
            "https://api.example/a/b/",
            "http://api.example/a/b",
            "https://api.example:444/a/b",
            "https://apj.example/a/b",
            "https://api.exampl/ea/b",
        ] {
            assert_ne!(target(Method::GET, other), one, "{other}");
        }
        assert_ne!(target(Method::POST, "https://api.example/a/b"), one);
    }

    #[test]
    fn a_relative_target_takes_the_authority_of_its_host_field() {
        let with = |host| {
            let request = Request::builder().uri("/a").header(HOST, host);
            Target::of(RequestView::of(&request.body(()).unwrap()))
        };
        assert_eq!(with("api.example"), with("API.example"));
        assert_ne!(with("api.example"), with("apj.example"));
    }

    #[test]
    fn many_targets_are_all_different() {
        let all: HashSet<_> = (0..50_000)
            .map(|n| target(Method::GET, &format!("https://api.example/repos/{n}")).request)
            .collect();
        assert_eq!(all.len(), 50_000);
    }

    #[test]
    fn each_sign_and_the_length_count_at_every_length() {
        let hash = |path: &str| target(Method::GET, &format!("https://api.example/{path}")).request;
        let mut all = HashSet::new();
        for len in 0..70 {
            assert!(all.insert(hash(&"a".repeat(len))), "{len}");
            for place in 0..len {
                let path = format!("{}b{}", "a".repeat(place), "a".repeat(len - place - 1));
                assert!(all.insert(hash(&path)), "{path}");
            }
        }
    }

    #[test]
    fn letters_of_a_host_are_alike_at_every_length() {
        let hash = |host: String| target(Method::GET, &format!("https://{host}/a"));
        for len in 1..40 {
            let host = "a".repeat(len);
            assert_eq!(hash(host.to_uppercase()), hash(host.clone()), "{len}");
            assert_ne!(hash(format!("{}b", &host[1..])), hash(host), "{len}");
        }
    }

    #[test]
    fn a_name_means_something_at_its_place_and_origin() {
        let (one, other) = (
            target(Method::GET, "https://api.example/a"),
            target(Method::GET, "https://other.example/a"),
        );
        let name = QuotaName::new(one, &[Some("core"), None]);
        let elsewhere = target(Method::POST, "https://api.example/b");
        assert_eq!(QuotaName::new(elsewhere, &[Some("core"), None]), name);
        assert_ne!(QuotaName::new(one, &[None, Some("core")]), name);
        assert_ne!(QuotaName::new(one, &[Some("core"), Some("")]), name);
        assert_ne!(QuotaName::new(one, &[Some("cor"), Some("e")]), name);
        let at = |names: &[_]| QuotaName::new(one, names);
        assert_ne!(at(&[Some(""), Some("core")]), at(&[Some("core"), Some("")]));
        assert_ne!(QuotaName::new(other, &[Some("core"), None]), name);
    }
}
