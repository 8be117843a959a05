//! The rate-limit fields that each provider names and spells in its own way.
//!
//! No provider is asked for. The fields of a limit are named alike but for one word, so that any of
//! them leads to the others:
//!
//! ```text
//! x-ratelimit-remaining-tokens     x-ratelimit-  [ remaining | reset | limit ]  -tokens
//! anthropic-ratelimit-tokens-reset         anthropic-ratelimit-tokens-  [ ... ]
//! ```

use std::{ops::Deref, time::Duration};

use http::{HeaderMap, HeaderValue, header::AGE};

use crate::{
    moment::Moment,
    number::{Number, Unit, text},
    quota_scope::QuotaScope,
    reading::Reading,
    reset,
    structured::{self, MOST},
};

/// The values of the field `name`, in lower case.
///
/// Nearly always there is none: a few names are compared faster than one is hashed.
pub(crate) fn named<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> impl Iterator<Item = &'h HeaderValue> {
    let fields = headers.iter();
    fields.filter_map(move |(other, value)| (other.as_str() == name).then_some(value))
}

/// Hands out what `headers` say about each limit. One pass over the names; nothing else where no
/// name is one of ours.
///
/// `unknown` asks also for limits of which nothing tells how much remains.
pub(crate) fn each_reading<'h>(
    headers: &'h HeaderMap,
    unknown: bool,
    now: &impl Deref<Target = Moment>,
    mut visit: impl FnMut(Reading<'h>),
) {
    for (name, value) in headers {
        let name = name.as_str();
        let Some(kind) = Kind::of(name) else {
            continue;
        };
        if is_from_cache(headers) {
            return;
        }
        let Some(value) = text(value) else { continue };
        match kind {
            Kind::RateLimit => structured::each_reading(headers, name, value, now, &mut visit),
            Kind::Dictionary(resource) => visit(Reading {
                scope: QuotaScope {
                    resource: Some(resource).filter(|resource| !resource.is_empty()),
                    ..QuotaScope::default()
                },
                ..structured::dictionary(value, now)
            }),
            Kind::Used => visit(used(value)),
            Kind::Remaining(family) => {
                let reading = family.reading(headers, now);
                each_rest(value, |policy, remaining| {
                    let policy = policy.or(reading.scope.policy);
                    visit(Reading {
                        remaining,
                        scope: QuotaScope {
                            policy,
                            ..reading.scope
                        },
                        ..reading
                    });
                });
            }
            Kind::Reset(family) => {
                // Where there is a remaining quantity, this was or will be read with it.
                if unknown && family.get(headers, "remaining").is_none() {
                    visit(family.reading(headers, now));
                }
            }
        }
    }
}

/// Whether a cache on the way gave the response: what it says about a quota is then of another
/// time, and maybe another client (draft-ietf-httpapi-ratelimit-headers, "Intermediaries").
fn is_from_cache(headers: &HeaderMap) -> bool {
    let age = headers.get(AGE).and_then(text).and_then(Number::parse);
    age.is_some_and(|age| age.floor() > 0)
}

/// What a field's name says that its value is.
enum Kind<'n> {
    /// `RateLimit` of the later drafts.
    RateLimit,
    /// `total=100; remaining=99; resets=41`, of a resource that the field's name ends with.
    Dictionary(&'n str),
    /// `32/40`: used of how many.
    Used,
    Remaining(Family<'n>),
    Reset(Family<'n>),
}

impl<'n> Kind<'n> {
    fn of(name: &'n str) -> Option<Self> {
        match name.len() {
            0..9 => return None,
            9 => return (name == "ratelimit").then_some(Self::RateLimit),
            14 if name == "beta-ratelimit" => return Some(Self::RateLimit),
            29 if name == "x-shopify-shop-api-call-limit" => return Some(Self::Used),
            _ => {}
        }
        if !mentions_limit(name) {
            return None;
        }
        if let Some(resource) = name.strip_prefix("zendesk-ratelimit-") {
            return Some(Self::Dictionary(resource));
        }
        if let Some(family) = Family::around(name, "remaining") {
            return Some(Self::Remaining(family));
        }
        let family = Family::around(name, "reset").or_else(|| Family::around(name, "next"))?;
        let after = family.after.strip_prefix("-after").unwrap_or(family.after);
        Some(Self::Reset(Family { after, ..family }))
    }
}

/// Like `name.contains("limit")`, at a fraction of the price for the names of all other fields:
/// looks at every fifth byte, and moves on to where the word would have to end (Horspool's search).
fn mentions_limit(name: &str) -> bool {
    let name = name.as_bytes();
    let mut end = 4;
    while let Some(byte) = name.get(end) {
        end += match byte {
            b't' if name[end - 4..].starts_with(b"limi") => return true,
            b'l' => 4,
            b'm' => 2,
            b'i' => 1,
            _ => 5,
        };
    }
    false
}

/// The names of one limit's fields: what is before and after the word that differs.
#[derive(Clone, Copy)]
struct Family<'n> {
    before: &'n str,
    after: &'n str,
}

impl<'n> Family<'n> {
    /// The family of `name`, if `word` is one of its words.
    fn around(name: &'n str, word: &str) -> Option<Self> {
        let (before, after) = name.split_once(word)?;
        let apart = before.is_empty() || before.ends_with('-');
        let apart = apart && (after.is_empty() || after.starts_with('-'));
        apart.then_some(Self { before, after })
    }

    /// The value of the family's field with `word`.
    fn get<'h>(&self, headers: &'h HeaderMap, word: &str) -> Option<&'h str> {
        let mut name = [0; 96];
        let mut length = 0;
        for part in [self.before, word, self.after] {
            let end = length + part.len();
            name.get_mut(length..end)?.copy_from_slice(part.as_bytes());
            length = end;
        }
        let name = str::from_utf8(&name[..length]).ok()?;
        headers.get(name).and_then(text)
    }

    /// What the family's fields say, but for what remains.
    fn reading<'h>(
        &self,
        headers: &'h HeaderMap,
        now: &impl Deref<Target = Moment>,
    ) -> Reading<'h> {
        let limit = self.limit(headers);
        Reading {
            remaining: None,
            reset: self.reset(headers, now),
            limit: limit.and_then(first_number),
            window: self.window(headers, limit),
            scope: self.scope(headers),
            other_unit: self.counts_other_units(),
            certain: false,
        }
    }

    /// What the fields beside it say that the limit is of.
    fn scope<'h>(&self, headers: &'h HeaderMap) -> QuotaScope<'h> {
        let beside = Self { after: "", ..*self };
        let named = |word| beside.get(headers, word).filter(|name| !name.is_empty());
        QuotaScope {
            resource: named("resource"),
            bucket: named("bucket"),
            policy: named("name"),
            partition_key: None,
        }
    }

    /// Whether the name tells that something else than requests is counted.
    ///
    /// `tokens` are those of a language model. A single `token` is one, too, but not where a word before it
    /// says which: `api-token` and `access-token` are what the requests are counted by.
    fn counts_other_units(&self) -> bool {
        let before = self.before.trim_end_matches('-').split('-');
        let after = self.after.trim_start_matches('-').split(['-', '_']);
        let counted = |which: &str, word: &str| match word {
            "tokens" | "tokenlimit" | "complexity" | "bytes" => true,
            "token" => {
                let is_model_s = matches!(which, "input" | "output" | "prompt" | "completion");
                is_model_s || which.is_empty() || which.contains("limit")
            }
            _ => false,
        };
        let mut which = "";
        before
            .chain(after)
            .any(|word| counted(std::mem::replace(&mut which, word), word))
    }

    fn reset(&self, headers: &HeaderMap, now: &impl Deref<Target = Moment>) -> Option<Duration> {
        ["reset-after", "reset", "next"]
            .iter()
            .filter_map(|word| self.get(headers, word))
            .find_map(|value| reset::wait(value, now))
    }

    /// `x-ratelimit-limit`, `x-hubspot-ratelimit-max`, or, with `x-rate-limit-remaining`, plain
    /// `x-rate-limit`.
    fn limit<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let bare = Self {
            before: self.before.trim_end_matches('-'),
            after: self.after,
        };
        self.get(headers, "limit")
            .or_else(|| self.get(headers, "max"))
            .or_else(|| bare.get(headers, ""))
    }

    fn window(&self, headers: &HeaderMap, limit: Option<&str>) -> Option<Duration> {
        const SUFFIXES: [(&str, u64); 4] = [
            ("-second", 1),
            ("-minute", 60),
            ("-hour", 60 * 60),
            ("-day", 24 * 60 * 60),
        ];
        let stated = || {
            let (limit, number) = (limit?, first_number(limit?)?);
            structured::window(limit, number).or_else(|| {
                let drafts = self.before == "ratelimit-" && self.after.is_empty();
                let policy = drafts.then(|| self.get(headers, "policy"))??;
                structured::window(policy, number)
            })
        };
        let named = || {
            let (_, seconds) = SUFFIXES.iter().find(|(suffix, _)| *suffix == self.after)?;
            Some(Duration::from_secs(*seconds))
        };
        let interval = || {
            let mut words = ["interval-milliseconds", "interval-ms"].into_iter();
            let interval = words.find_map(|word| self.get(headers, word))?;
            Some(Number::parse(interval)?.duration(Unit::Milliseconds))
        };
        stated().or_else(named).or_else(interval)
    }
}

/// Calls `visit` with each policy's name and rest: `598.0` and `76;w=21600` have no name, and
/// `Microsoft.Compute/GetVMScaleSet3Min;197,...` has several. A value that has no rest in it is one that is unknown.
fn each_rest<'h>(value: &'h str, mut visit: impl FnMut(Option<&'h str>, Option<u64>)) {
    let number = |text: &str| Number::parse(text.trim()).map(Number::floor);
    let one = |member: &'h str| match member.rsplit_once(';') {
        Some((first, second)) => match number(first) {
            Some(rest) => Some((None, rest)),
            None => Some((Some(first.trim()), number(second)?)),
        },
        None => Some((None, number(member)?)),
    };
    let mut known = false;
    for (name, rest) in value.split(',').take(MOST).filter_map(one) {
        known = true;
        visit(name.filter(|name| !name.is_empty()), Some(rest));
    }
    if !known {
        visit(None, None);
    }
}

fn used(value: &str) -> Reading<'static> {
    let numbers = || {
        let (used, limit) = value.split_once('/')?;
        Some((Number::parse(used)?.floor(), Number::parse(limit)?.floor()))
    };
    let Some((used, limit)) = numbers() else {
        return Reading::default();
    };
    Reading {
        remaining: Some(limit.saturating_sub(used)),
        limit: Some(limit),
        ..Reading::default()
    }
}

/// The limit in `100`, `100;w=60` and `100, 100;w=60, 1000;w=3600`.
fn first_number(value: &str) -> Option<u64> {
    let number = value.split([',', ';']).next()?;
    Number::parse(number.trim()).map(Number::floor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_quick_search_finds_what_the_plain_one_finds(name in "[limt-]{0,20}(limit)?[limt-]{0,20}") {
            prop_assert_eq!(mentions_limit(&name), name.contains("limit"));
        }
    }

    #[test]
    fn a_family_is_found_by_a_whole_word_only() {
        let around =
            |name, word| Family::around(name, word).map(|found| (found.before, found.after));
        assert_eq!(
            around("x-limit-reset-day", "reset"),
            Some(("x-limit-", "-day"))
        );
        assert_eq!(around("reset", "reset"), Some(("", "")));
        assert_eq!(around("ratelimit-resettime", "reset"), None);
        assert_eq!(around("limit-preset", "reset"), None);
    }

    #[test]
    fn a_name_beyond_all_bounds_has_no_family() {
        let name = format!("x-ratelimit-remaining-{}", "a".repeat(100));
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        let mut headers = HeaderMap::new();
        headers.insert(name, http::HeaderValue::from_static("5"));
        let now = &Moment(0);
        each_reading(&headers, true, &now, |reading| {
            assert_eq!((reading.remaining, reading.reset), (Some(5), None));
        });
    }
}
