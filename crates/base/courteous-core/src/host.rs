use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{Ipv4Addr, Ipv6Addr},
};

/// A host as a client connects to it, however it is spelled.
///
/// Two hosts are equal if a client would connect to the same name or address (RFC 3986, section 6.2; the addresses as in the
/// host parser of the WHATWG's URL standard, which is also what `getaddrinfo` takes):
///
/// - a name in any case, with or without the dot that ends it (`api.example.` and `API.example`);
/// - an IPv4 address in one to four parts, each decimal, octal or hexadecimal (`127.0.0.1`, `127.1`, `0x7f000001`);
/// - an IPv6 address in its long and its short form, in brackets or not;
/// - an IPv4 address that is mapped into IPv6 (`[::ffff:127.0.0.1]`): connections to it go to the IPv4 address.
///
/// An address with a zone (`[fe80::1%25eth0]`) equals only what is spelled like it. Names are not looked up, and an
/// international name is compared in the form that it has on the wire (`xn--...`).
///
/// It is displayed as the one spelling that all equal ones share: a lower-case name without the last dot, or the address in
/// its shortest form, IPv6 in brackets.
///
/// ```
/// use courteous_core::Host;
///
/// assert_eq!(Host::new("API.example."), Host::new("api.example"));
/// assert_eq!(Host::new("127.1"), Host::new("127.0.0.1"));
/// assert_eq!(Host::new("[0:0:0:0:0:0:0:1]").to_string(), "[::1]");
/// assert!(Host::new("v2.api.example").is_below(Host::new("api.example")));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Host<'a>(Kind<'a>);

#[derive(Clone, Copy, Debug)]
enum Kind<'a> {
    /// Without the last dot.
    Name(&'a str),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// The host that is spelled `text`: no port, no user. Empty for the host of a request that names none.
    #[must_use]
    #[inline]
    pub fn new(text: &'a str) -> Self {
        match may_be_more_than_a_name(text) {
            false => Self(Kind::Name(text)),
            true => Self::parse(text),
        }
    }

    /// Whether this is a name below `other`: `v2.api.example` is below `api.example` and `example`. No address is below
    /// anything.
    #[must_use]
    pub fn is_below(self, other: Self) -> bool {
        let (Kind::Name(name), Kind::Name(parent)) = (self.0, other.0) else {
            return false;
        };
        let split = name.len().checked_sub(parent.len());
        let split = split.and_then(|at| name.split_at_checked(at));
        split.is_some_and(|(label, end)| {
            label.len() > 1 && label.ends_with('.') && end.eq_ignore_ascii_case(parent)
        })
    }

    /// What hosts of one owner have in common, as far as can be told: the last two labels of a name, or the network of an
    /// address.
    #[must_use]
    pub fn group(self) -> Self {
        Self(match self.0 {
            Kind::Name(name) => {
                let dots = name.bytes().enumerate().rev();
                let second = dots.filter(|&(_, byte)| byte == b'.').nth(1);
                Kind::Name(second.map_or(name, |(at, _)| &name[at + 1..]))
            }
            Kind::V4(address) => Kind::V4(Ipv4Addr::from_bits(address.to_bits() & !0xff)),
            Kind::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Kind::V6(Ipv6Addr::from_bits(network))
            }
        })
    }

    #[cold]
    fn parse(text: &'a str) -> Self {
        if let Some(address) = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            return Self(parse_v6(address).unwrap_or(Kind::Name(text)));
        }
        if text.contains(':') {
            return Self(parse_v6(text).unwrap_or(Kind::Name(text)));
        }
        // Of several dots, only the last one means nothing.
        let name = text.strip_suffix('.').filter(|name| !name.is_empty());
        let name = name.unwrap_or(text);
        Self(parse_v4(name).map_or(Kind::Name(name), Kind::V4))
    }
}

/// Whether a host may be anything else than a name as it stands. Nearly all are names, which their last bytes tell.
#[inline]
fn may_be_more_than_a_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    match bytes.last() {
        Some(b'.' | b']' | b'0'..=b'9') => true,
        Some(b'a'..=b'f' | b'A'..=b'F' | b'x' | b'X') => may_end_in_hex(bytes),
        Some(b':') => true,
        _ => false,
    }
}

/// Whether the last part may be a hexadecimal number, or the host an IPv6 address without brackets.
#[inline]
fn may_end_in_hex(bytes: &[u8]) -> bool {
    let digits = bytes
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_hexdigit());
    let rest = &bytes[..bytes.len() - digits.count()];
    matches!(rest.last(), Some(b'x' | b'X' | b':'))
}

fn parse_v6(text: &str) -> Option<Kind<'static>> {
    let address: Ipv6Addr = text.parse().ok()?;
    Some(match address.to_ipv4_mapped() {
        Some(address) => Kind::V4(address),
        None => Kind::V6(address),
    })
}

/// One to four numbers: the last one fills the bytes that the others leave.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut address = 0;
    let mut parts = text.split('.');
    let last = parse_number(parts.next_back()?)?;
    let mut bits = 32;
    for part in parts {
        bits = u32::checked_sub(bits, 8).filter(|&bits| bits > 0)?;
        address |= parse_number(part).filter(|&part| part < 1 << 8)? << bits;
    }
    let last = (last < 1 << bits).then_some(last)?;
    u32::try_from(address | last).ok().map(Ipv4Addr::from)
}

fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X'] => return Some(0),
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` takes a sign.
    let unsigned = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, radix).ok().filter(|_| unsigned)
}

impl PartialEq for Host<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Kind::Name(one), Kind::Name(two)) => one.eq_ignore_ascii_case(two),
            (Kind::V4(one), Kind::V4(two)) => one == two,
            (Kind::V6(one), Kind::V6(two)) => one == two,
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

impl Hash for Host<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            // Many bytes at once: hashers are slow to take up each.
            Kind::Name(name) => {
                for part in name.as_bytes().chunks(64) {
                    let mut lower = [0; 64];
                    let lower = &mut lower[..part.len()];
                    lower.copy_from_slice(part);
                    lower.make_ascii_lowercase();
                    state.write(lower);
                }
            }
            Kind::V4(address) => state.write_u32(address.to_bits()),
            Kind::V6(address) => state.write_u128(address.to_bits()),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Name(name) => f.write_str(&name.to_ascii_lowercase()),
            Kind::V4(address) => address.fmt(f),
            Kind::V6(address) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn all_spellings_of_a_host_are_equal_and_have_one_hash() {
        let state = RandomState::new();
        for (canonical, spellings) in [
            (
                "api.example",
                &["API.example", "api.example.", "Api.Example."][..],
            ),
            (
                "127.0.0.1",
                &[
                    "127.1",
                    "127.0.1",
                    "127.0.0.1.",
                    "0177.0.0.1",
                    "0x7f.0.0.1",
                    "0x7F.1",
                    "2130706433",
                    "0x7f000001",
                    "017700000001",
                    "[::ffff:127.0.0.1]",
                    "[::FFFF:7f00:1]",
                ],
            ),
            ("0.0.0.0", &["0", "0x", "0X.0x", "00.0"]),
            ("[::1]", &["[0:0:0:0:0:0:0:1]", "::1", "[0000::0001]"]),
            ("[2001:db8::a]", &["[2001:DB8:0::000A]", "2001:db8::a"]),
            ("[fe80::1%25eth0]", &["[FE80::1%25eth0]"]),
            ("xn--bcher-kva.example", &["XN--bcher-KVA.example."]),
            ("", &[]),
            (".", &[]),
        ] {
            let host = Host::new(canonical);
            assert_eq!(host.to_string(), canonical);
            for spelling in spellings {
                let same = Host::new(spelling);
                assert_eq!(same, host, "{spelling}");
                assert_eq!(same.to_string(), canonical, "{spelling}");
                assert_eq!(state.hash_one(same), state.hash_one(host), "{spelling}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_an_address_is_a_name() {
        for name in [
            "1.2.3.4.5",
            "256.0.0.1",
            "127.0.0.08",
            "4294967296",
            "1..2",
            ".1",
            "127.0.0.1..",
            "+1.2.3.4",
            "1.2.3.-4",
            "a.b.c.1",
            "0xg",
            "[::1",
            "api.face",
            "facade",
            "10x",
            "api..",
        ] {
            assert!(matches!(Host::new(name).0, Kind::Name(_)), "{name}");
        }
        assert_ne!(Host::new("api.example.."), Host::new("api.example"));
        assert_ne!(Host::new("127.0.0.1"), Host::new("127.0.0.2"));
        assert_ne!(Host::new("[::1]"), Host::new("[::2]"));
    }

    #[test]
    fn the_quick_look_at_the_last_bytes_misses_nothing() {
        for text in ["1.0x", "1.0xa", "1.0xf.", "0XDEADBEEF", "::", "::a", "1::"] {
            assert!(may_be_more_than_a_name(text), "{text}");
        }
        for text in ["a", "api.example", "api.dev", "10.example", "a.ac", "0x.y"] {
            assert!(!may_be_more_than_a_name(text), "{text}");
        }
    }

    #[test]
    fn a_group_is_the_last_two_labels_or_the_network_of_an_address() {
        let group = |host| Host::new(host).group().to_string();
        assert_eq!(group("a.b.Evil.example."), "evil.example");
        assert_eq!(group("evil.example"), "evil.example");
        assert_eq!(group("localhost"), "localhost");
        assert_eq!(group("10.1.2.3"), "10.1.2.0");
        assert_eq!(group("[::ffff:10.1.2.3]"), "10.1.2.0");
        assert_eq!(group("[2001:db8:1:2:3:4:5:6]"), "[2001:db8:1:2::]");
    }

    #[test]
    fn only_names_are_below_names() {
        let below = |one, other| Host::new(one).is_below(Host::new(other));
        assert!(below("v2.API.example.", "api.example"));
        assert!(below("v2.api.example", "example."));
        assert!(!below("api.example", "api.example"));
        assert!(!below(".api.example", "api.example"));
        assert!(!below("xapi.example", "api.example"));
        assert!(!below("10.0.0.1", "0.0.1"));
        assert!(!below("10.0.0.1", "10.0.0.1"));
    }
}
