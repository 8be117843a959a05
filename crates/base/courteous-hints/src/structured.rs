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
    quota_scope::QuotaScope,
    reading::Reading,
    reset,
};

/// How many limits of one field are read.
pub(crate) const MOST: usize = 16;

/// Hands out what one line of `RateLimit`, or of a field that is built like it, says about each
/// limit.
pub(crate) fn each_reading<'h>(
    headers: &'h HeaderMap,
    name: &str,
    value: &'h str,
    now: &impl Deref<Target = Moment>,
    visit: &mut impl FnMut(Reading<'h>),
) {
    let policies = match name {
        "beta-ratelimit" => "beta-ratelimit-policy",
        _ => "ratelimit-policy",
    };
    let policies = || headers.get_all(policies).iter().filter_map(text);
    if is_dictionary(value) {
        let reading = dictionary(value, now);
        if reading.remaining.is_none() {
            return;
        }
        let window = |limit| policies().find_map(|policy| window(policy, limit));
        visit(Reading {
            window: reading.limit.and_then(window),
            certain: true,
            ..reading
        });
        return;
    }
    // Each limit is looked up among the policies: the bound is for both.
    for item in split(value, ',').take(MOST).filter_map(Item::parse) {
        let policies = policies().flat_map(|line| split(line, ','));
        let mut policies = policies.take(MOST).filter_map(Item::parse);
        if let Some(reading) = item.reading(policies.find(|policy| policy.is_of(&item)), now) {
            visit(reading);
        }
    }
}

/// What `limit=100, remaining=50, reset=30` says, or `total=100; remaining=99; resets=41`.
pub(crate) fn dictionary(value: &str, now: &impl Deref<Target = Moment>) -> Reading<'static> {
    let members = || value.split([',', ';']).filter_map(|m| m.split_once('='));
    let number = |names: &[&str]| Number::parse(last(members(), names)?).map(Number::floor);
    Reading {
        remaining: number(&["remaining"]),
        limit: number(&["limit", "total"]),
        reset: last(members(), &["reset", "resets"]).and_then(|value| reset::wait(value, now)),
        ..Reading::default()
    }
}

/// The value behind the first of `names` that is there at all; of several with that name the last one counts (RFC 9651
/// section 4.2.3.2).
fn last<'a>(
    members: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    names: &[&str],
) -> Option<&'a str> {
    names.iter().find_map(|name| {
        let named = members.clone().filter(|(key, _)| key.trim() == *name);
        named.last().map(|(_, value)| value.trim())
    })
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

    /// The value of the parameter with the first of these names that is there. One without a value is
    /// true, and so no number.
    fn parameter(&self, names: &[&str]) -> Option<&'a str> {
        let parameters = split(self.parameters, ';');
        let value = last(
            parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "?1"))),
            names,
        )?;
        Some(unquote(value).unwrap_or(value))
    }

    fn number(&self, names: &[&str]) -> Option<u64> {
        Number::parse(self.parameter(names)?).map(Number::floor)
    }

    fn seconds(&self, names: &[&str]) -> Option<Duration> {
        Number::parse(self.parameter(names)?).map(|number| number.duration(Unit::Seconds))
    }

    /// Whether `item` tells the state of this policy: the names are equal and, where both have a
    /// partition, the partitions too.
    fn is_of(&self, item: &Self) -> bool {
        let partitions = (self.parameter(&["pk"]), item.parameter(&["pk"]));
        let apart = matches!(partitions, (Some(one), Some(other)) if one != other);
        self.name == item.name && !apart
    }

    /// `None` for an item that does not say what remains: the draft calls it malformed.
    ///
    /// The draft's own parameters come first, then those of its proposed successor (`a`, `w`), then the words of older
    /// ones.
    fn reading(
        &self,
        policy: Option<Self>,
        now: &impl Deref<Target = Moment>,
    ) -> Option<Reading<'a>> {
        let unit = policy.as_ref().and_then(|policy| policy.parameter(&["qu"]));
        let reset = self.parameter(&["t", "w", "reset"]);
        Some(Reading {
            remaining: Some(self.number(&["r", "a", "remaining"])?),
            reset: reset.and_then(|reset| reset::wait(reset, now)),
            limit: policy.as_ref().and_then(|policy| policy.number(&["q"])),
            window: policy.as_ref().and_then(|policy| policy.seconds(&["w"])),
            scope: QuotaScope {
                policy: Some(self.name),
                partition_key: self.parameter(&["pk"]),
                ..QuotaScope::default()
            },
            other_unit: unit.is_some_and(|unit| !matches!(unit, "request" | "requests")),
            certain: true,
        })
    }
}

/// The parts of `text` between `separator`s, but not those inside of quoted strings.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> + Clone {
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
