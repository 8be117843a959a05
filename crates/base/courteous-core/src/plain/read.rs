use std::{
    fmt,
    marker::PhantomData,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use http::{HeaderName, Method};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, SeqAccess, Unexpected, Visitor},
};

use super::duration;
use crate::{InvalidRate, Rate};

/// A setting that can be read.
pub trait Read: Sized {
    /// Reads the value of the setting called `field`.
    ///
    /// # Errors
    ///
    /// The deserializer's, and one that names the field, the value and the rule.
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error>;
}

/// A field whose value is to be read.
#[derive(Debug)]
pub struct Field<T> {
    name: &'static str,
    value: PhantomData<T>,
}

impl<T> Field<T> {
    /// The field of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let value = PhantomData;
        Self { name, value }
    }
}

impl<'de, T: Read> DeserializeSeed<'de> for Field<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::read(self.name, from)
    }
}

/// The name of one of the fields that were not stated yet.
#[derive(Debug)]
pub struct Name<'a> {
    fields: &'static [&'static str],
    stated: &'a [&'static str],
}

impl<'a> Name<'a> {
    /// One of `fields`, but of those that are `stated`.
    #[must_use]
    pub const fn of(fields: &'static [&'static str], stated: &'a [&'static str]) -> Self {
        Self { fields, stated }
    }
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<&'static str, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a setting")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<&'static str, E> {
        let name = self.fields.iter().find(|&&field| field == text);
        let name = *name.ok_or_else(|| E::unknown_field(text, self.fields))?;
        match self.stated.contains(&name) {
            true => Err(E::duplicate_field(name)),
            false => Ok(name),
        }
    }
}

/// Reads a value of which serde tells the kind.
struct Value<T, F> {
    field: &'static str,
    /// What is expected.
    rule: &'static str,
    read: F,
    value: PhantomData<T>,
}

enum Given<'a> {
    Text(&'a str),
    Whole(u64),
    Number(f64),
    Flag(bool),
}

impl<T, F: FnOnce(Given<'_>) -> Result<T, Option<String>>> Value<T, F> {
    const fn new(field: &'static str, rule: &'static str, read: F) -> Self {
        let value = PhantomData;
        Self {
            field,
            rule,
            read,
            value,
        }
    }

    fn read<E: de::Error>(self, given: Given<'_>, shown: Unexpected<'_>) -> Result<T, E> {
        let Self { field, rule, .. } = self;
        (self.read)(given).map_err(|error| match error {
            Some(error) => E::custom(format_args!("`{field}`: {error}")),
            None => E::custom(format_args!(
                "`{field}`: invalid value {shown}, expected {rule}"
            )),
        })
    }
}

impl<T, F: FnOnce(Given<'_>) -> Result<T, Option<String>>> Visitor<'_> for Value<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for `{}`", self.rule, self.field)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.read(Given::Text(text), Unexpected::Str(text))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.read(Given::Whole(number), Unexpected::Unsigned(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        let given = match u64::try_from(number) {
            Ok(number) => Given::Whole(number),
            Err(_) => Given::Number(number as f64),
        };
        self.read(given, Unexpected::Signed(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.read(Given::Number(number), Unexpected::Float(number))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<T, E> {
        self.read(Given::Flag(flag), Unexpected::Bool(flag))
    }
}

/// Reads text.
fn text<'de, D, T>(
    field: &'static str,
    rule: &'static str,
    from: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    from.deserialize_str(Value::new(field, rule, |given| match given {
        Given::Text(text) => parse(text).map_err(Some),
        _ => Err(None),
    }))
}

/// Reads a whole number, if `convert` takes it.
fn whole<'de, D, T>(
    field: &'static str,
    rule: &'static str,
    from: D,
    convert: impl FnOnce(u64) -> Option<T>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    from.deserialize_u64(Value::new(field, rule, |given| match given {
        Given::Whole(number) => convert(number).ok_or(None),
        _ => Err(None),
    }))
}

macro_rules! whole_numbers {
    ($($leaf:ty, $rule:literal, $convert:expr;)*) => {
        $(impl Read for $leaf {
            fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
                whole(field, $rule, from, $convert)
            }
        })*
    };
}

whole_numbers! {
    u32, "a whole number", |number| number.try_into().ok();
    usize, "a whole number", |number| number.try_into().ok();
    NonZeroU32, "a whole number above zero", |number| Self::new(number.try_into().ok()?);
    NonZeroUsize, "a whole number above zero", |number| Self::new(number.try_into().ok()?);
}

impl Read for f64 {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        from.deserialize_f64(Value::new(field, "a number", |given| match given {
            Given::Number(number) => Ok(number),
            Given::Whole(number) => Ok(number as Self),
            _ => Err(None),
        }))
    }
}

impl Read for bool {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        from.deserialize_bool(Value::new(
            field,
            "`true` or `false`",
            |given| match given {
                Given::Flag(flag) => Ok(flag),
                _ => Err(None),
            },
        ))
    }
}

impl Read for String {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        text(field, "text", from, |text| Ok(text.to_owned()))
    }
}

impl Read for Duration {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        text(field, "a duration such as \"30s\"", from, duration::read)
    }
}

impl Read for Rate {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        text(field, "a rate such as \"25/s\"", from, |text| {
            text.parse().map_err(|error: InvalidRate| error.to_string())
        })
    }
}

impl Read for HeaderName {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        let rule = "the name of a header field";
        text(field, rule, from, |text| {
            text.parse().map_err(|_| format!("`{text}` is not {rule}"))
        })
    }
}

impl Read for Method {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        let rule = "the name of a method";
        text(field, rule, from, |text| {
            text.parse().map_err(|_| format!("`{text}` is not {rule}"))
        })
    }
}

impl<T: Read> Read for Option<T> {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        from.deserialize_option(Optional(Field::new(field)))
    }
}

struct Optional<T>(Field<T>);

impl<'de, T: Read> Visitor<'de> for Optional<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for `{}`", self.0.name)
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        self.0.deserialize(from).map(Some)
    }
}

impl<T: Read> Read for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(field: &'static str, from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(List(Field::new(field)))
    }
}

struct List<T>(Field<T>);

impl<'de, T: Read> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list for `{}`", self.0.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut read = Vec::new();
        while let Some(value) = list.next_element_seed(Field::new(self.0.name))? {
            read.push(value);
        }
        Ok(read)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::read("rate", from)
    }
}
