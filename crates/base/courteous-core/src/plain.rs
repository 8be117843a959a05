//! Plain data of layers: settings that a file can state, and snapshots of what is in force. For layers, and not for users.
//!
//! Both are structs of public fields, made by [`settings!`](crate::settings) and [`snapshot!`](crate::snapshot). Their `Debug`
//! leaves out what is not there, so that one value fits a support ticket. With the feature `serde` they are serialized alike:
//! durations and rates as text. Settings are read back from that: an unknown field is an error, and every error names its field,
//! the value and the rule, as serde's derived code would not.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use http::{HeaderName, Method};

use crate::Rate;

#[cfg(feature = "serde")]
mod duration;
#[cfg(feature = "serde")]
mod read;
#[cfg(feature = "serde")]
mod write;

#[cfg(feature = "serde")]
pub use self::{
    read::{Field, Name, Read},
    write::{Write, Written},
};
#[cfg(feature = "serde")]
pub use serde;

/// A field of plain data.
pub trait Plain: fmt::Debug + PartialEq {
    /// Adds the field to what is shown, unless there is nothing to show.
    fn show(&self, name: &str, to: &mut fmt::DebugStruct<'_, '_>)
    where
        Self: Sized,
    {
        to.field(name, self);
    }

    /// The path of the first field that these settings state otherwise than `current`; empty for this field itself.
    fn differs_from(&self, current: &Self) -> Option<String> {
        (self != current).then(String::new)
    }
}

macro_rules! leaves {
    ($($leaf:ty,)*) => { $(impl Plain for $leaf {})* };
}

leaves! {
    bool, f64, u32, u64, usize, NonZeroU32, NonZeroUsize, String, Rate, HeaderName, Method,
}

impl Plain for Duration {
    /// Shows the longest one by the word that a file has for it.
    fn show(&self, name: &str, to: &mut fmt::DebugStruct<'_, '_>) {
        match *self {
            Self::MAX => to.field(name, &format_args!("unlimited")),
            _ => to.field(name, self),
        };
    }
}

impl<T: Plain> Plain for Vec<T> {}

impl<T: Plain> Plain for Option<T> {
    fn show(&self, name: &str, to: &mut fmt::DebugStruct<'_, '_>) {
        if let Some(value) = self {
            value.show(name, to);
        }
    }

    fn differs_from(&self, current: &Self) -> Option<String> {
        match (self, current) {
            (None, _) => None,
            (Some(value), Some(current)) => value.differs_from(current),
            (Some(_), None) => Some(String::new()),
        }
    }
}

/// Adds a field to the path that [`Plain::differs_from`] has told.
#[must_use]
pub fn path(field: &str, inner: &str) -> String {
    match inner {
        "" => field.to_owned(),
        inner => format!("{field}.{inner}"),
    }
}

/// Defines a snapshot: what is in force at one instant.
#[macro_export]
macro_rules! snapshot {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq)]
        #[non_exhaustive]
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let mut f = f.debug_struct(stringify!($name));
                $($crate::plain::Plain::show(&self.$field, stringify!($field), &mut f);)*
                f.finish()
            }
        }

        $crate::plain_serialize!($name { $($field)* });
        $crate::plain_struct!($name { $($field)* });
    };
}

/// Defines settings: each of their fields is an `Option`, or holds further settings. What is not stated is left as it is.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* }
    ) => {
        $crate::snapshot! {
            $(#[$meta])*
            #[derive(Default)]
            pub struct $name { $($(#[$doc])* pub $field: $type,)* }
        }
        $crate::plain_deserialize!($name { $($field)* });
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! plain_struct {
    ($name:ident { $($field:ident)* }) => {
        impl $crate::plain::Plain for $name {
            fn differs_from(&self, current: &Self) -> Option<String> {
                $(
                    let inner = $crate::plain::Plain::differs_from(&self.$field, &current.$field);
                    if let Some(inner) = inner {
                        return Some($crate::plain::path(stringify!($field), &inner));
                    }
                )*
                None
            }
        }
    };
}

#[cfg(not(feature = "serde"))]
#[doc(hidden)]
#[macro_export]
macro_rules! plain_serialize {
    ($($any:tt)*) => {};
}

#[cfg(not(feature = "serde"))]
#[doc(hidden)]
#[macro_export]
macro_rules! plain_deserialize {
    ($($any:tt)*) => {};
}

#[cfg(feature = "serde")]
#[doc(hidden)]
#[macro_export]
macro_rules! plain_serialize {
    ($name:ident { $($field:ident)* }) => {
        impl $crate::plain::serde::Serialize for $name {
            fn serialize<S>(&self, to: S) -> Result<S::Ok, S::Error>
            where
                S: $crate::plain::serde::Serializer,
            {
                use $crate::plain::serde::ser::SerializeStruct as _;

                // Of those that are there: a format that writes the number first holds it against what follows.
                let fields = 0 $(+ usize::from($crate::plain::Write::is_there(&self.$field)))*;
                let mut to = to.serialize_struct(stringify!($name), fields)?;
                $(match $crate::plain::Write::is_there(&self.$field) {
                    true => {
                        to.serialize_field(stringify!($field), &$crate::plain::Written(&self.$field))?;
                    }
                    false => to.skip_field(stringify!($field))?,
                })*
                to.end()
            }
        }

        impl $crate::plain::Write for $name {
            fn write<S>(&self, to: S) -> Result<S::Ok, S::Error>
            where
                S: $crate::plain::serde::Serializer,
            {
                $crate::plain::serde::Serialize::serialize(self, to)
            }
        }
    };
}

#[cfg(feature = "serde")]
#[doc(hidden)]
#[macro_export]
macro_rules! plain_deserialize {
    ($name:ident { $($field:ident)* }) => {
        impl<'de> $crate::plain::serde::Deserialize<'de> for $name {
            fn deserialize<D>(from: D) -> Result<Self, D::Error>
            where
                D: $crate::plain::serde::Deserializer<'de>,
            {
                use $crate::plain::serde::de;

                const FIELDS: &[&str] = &[$(stringify!($field)),*];

                struct Table;

                impl<'de> de::Visitor<'de> for Table {
                    type Value = $name;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str("a table of settings")
                    }

                    fn visit_map<A>(self, mut table: A) -> Result<$name, A::Error>
                    where
                        A: de::MapAccess<'de>,
                    {
                        let mut read = $name::default();
                        let mut names = Vec::new();
                        while let Some(name) = table.next_key_seed($crate::plain::Name::of(FIELDS, &names))? {
                            names.push(name);
                            match name {
                                $(stringify!($field) => {
                                    read.$field = table.next_value_seed($crate::plain::Field::new(name))?;
                                })*
                                _ => {}
                            }
                        }
                        Ok(read)
                    }
                }

                from.deserialize_struct(stringify!($name), FIELDS, Table)
            }
        }

        impl $crate::plain::Read for $name {
            fn read<'de, D>(_: &'static str, from: D) -> Result<Self, D::Error>
            where
                D: $crate::plain::serde::Deserializer<'de>,
            {
                $crate::plain::serde::Deserialize::deserialize(from)
            }
        }
    };
}
