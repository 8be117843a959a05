//! `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers.
//!
//! ```text
//! to -06:   RateLimit-Limit: 100    RateLimit-Remaining: 50    RateLimit-Reset: 30       (read with the providers' fields)
//! -07:      RateLimit: limit=100, remaining=50, reset=30       RateLimit-Policy: 100;w=60
//! from -08: RateLimit: "burst";r=50;t=30                       RateLimit-Policy: "burst";q=100;w=60
//! ```
//!
//! Parsed leniently, as the drafts' own examples break their grammar: names may be tokens, unknown
//! parameters are passed over, and a bad item is skipped alone.

use std::{ops::Deref, time::Duration};

use http::HeaderMap;

use crate::{
    moment::Moment,
    number::{Number, Unit, text},
    reading::Reading,
    reset,
};

/// How many limits of one line are read, and policies of a response: each is looked up among these.
const MOST: usize = 16;

/// Hands out what one line of `RateLimit`, or of a field that is built like it, says about each
/// limit.
pub(crate) fn each_reading(
    headers: &HeaderMap,
    name: &str,
    value: &str,
    now: &impl Deref<Target = Moment>,
    visit: &mut impl FnMut(Reading),
) {
    let policies = match name {
        "beta-ratelimit" => "beta-ratelimit-policy",
        _ => "ratelimit-policy",
    };
    let policies = || headers.get_all(policies).iter().filter_map(text);
    if is_dictionary(value) {
        let reading = dictionary(value, now);
        let window = |limit| policies().find_map(|policy| window(policy, limit));
        visit(Reading {
            window: reading.limit.and_then(window),
            certain: true,
            ..reading
        });
        return;
    }
    for item in split(value, ',').take(MOST).filter_map(Item::parse) {
        let policies = policies().flat_map(|line| split(line, ','));
        let mut policies = policies.take(MOST).filter_map(Item::parse);
        visit(item.reading(policies.find(|policy| policy.is_of(&item))));
    }
}

/// What `limit=100, remaining=50, reset=30` says, or `total=100; remaining=99; resets=41`.
pub(crate) fn dictionary(value: &str, now: &impl Deref<Target = Moment>) -> Reading {
    let mut reading = Reading::default();
    for member in value.split([',', ';']) {
        let Some((key, value)) = member.split_once('=') else {
            continue;
        };
        let value = value.trim();
        let number = || Number::parse(value).map(Number::floor);
        match key.trim() {
            "remaining" => reading.remaining = number(),
            "limit" | "total" => reading.limit = number(),
            "reset" | "resets" => reading.reset = reset::wait(value, now),
            _ => {}
        }
    }
    reading
}

/// The window of the policy with this `limit` in `100;w=60, 1000;w=3600`.
pub(crate) fn window(policies: &str, limit: u64) -> Option<Duration> {
    split(policies, ',').find_map(|policy| {
        let (number, parameters) = policy.split_once(';')?;
        let found = Number::parse(number.trim())?.floor() == limit;
        let policy = Item {
            name: number,
            parameters,
        };
        if found { policy.seconds(&["w"]) } else { None }
    })
}

fn is_dictionary(value: &str) -> bool {
    let key = value.split(['"', ';', ',']).next();
    key.is_some_and(|key| key.contains('='))
}

/// A name with parameters: `"burst";r=50;t=30`.
struct Item<'a> {
    name: &'a str,
    parameters: &'a str,
}

impl<'a> Item<'a> {
    fn parse(member: &'a str) -> Option<Self> {
        let head = split(member, ';').next()?;
        let parameters = member[head.len()..].trim_start_matches(';');
        let name = match head.trim() {
            token if !token.contains('"') => token,
            string => unquote(string)?,
        };
        (!name.is_empty()).then_some(Self { name, parameters })
    }

    /// The value of the parameter with one of these names; the last one counts (RFC 9651 section
    /// 4.2.3.2).
    fn parameter(&self, names: &[&str]) -> Option<&'a str> {
        split(self.parameters, ';')
            .filter_map(|parameter| parameter.split_once('='))
            .filter(|(name, _)| names.contains(&name.trim()))
            .last()
            .map(|(_, value)| unquote(value.trim()).unwrap_or(value.trim()))
    }

    fn number(&self, names: &[&str]) -> Option<u64> {
        Number::parse(self.parameter(names)?).map(Number::floor)
    }

    fn seconds(&self, names: &[&str]) -> Option<Duration> {
        Number::parse(self.parameter(names)?).map(|number| number.duration(Unit::Seconds))
    }

    /// Whether this policy is the one that `item` tells the state of: the same name and, where both
    /// tell one, partition.
    fn is_of(&self, item: &Self) -> bool {
        let partitions = (self.parameter(&["pk"]), item.parameter(&["pk"]));
        let apart = matches!(partitions, (Some(one), Some(other)) if one != other);
        self.name == item.name && !apart
    }

    fn reading(&self, policy: Option<Self>) -> Reading {
        let unit = policy.as_ref().and_then(|policy| policy.parameter(&["qu"]));
        Reading {
            remaining: self.number(&["r", "a", "remaining"]),
            reset: self.seconds(&["t", "w", "reset"]),
            limit: policy.as_ref().and_then(|policy| policy.number(&["q"])),
            window: policy.as_ref().and_then(|policy| policy.seconds(&["w"])),
            other_unit: unit.is_some_and(|unit| !matches!(unit, "request" | "requests")),
            certain: true,
        }
    }
}

/// The parts of `text` between `separator`s, but not those inside of quoted strings.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |char| {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        char == separator && !quoted
    })
}

/// What is inside of a string's quotes. Escapes stay as they are: names are only compared with each
/// other.
fn unquote(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}
