use std::{
    fmt::Display,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use http::{HeaderName, Method};
use serde::{Serialize, Serializer};

use super::duration;
use crate::Rate;

/// A value that can be serialized as plain data.
pub trait Write {
    /// Writes the value.
    ///
    /// # Errors
    ///
    /// The serializer's.
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;

    /// Whether there is anything to write.
    fn is_there(&self) -> bool {
        true
    }
}

/// A field, for a serializer.
#[derive(Debug)]
pub struct Written<'a, T>(pub &'a T);

impl<T: Write> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.write(to)
    }
}

macro_rules! as_they_are {
    ($($leaf:ty,)*) => {
        $(impl Write for $leaf {
            fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                self.serialize(to)
            }
        })*
    };
}

as_they_are! { bool, f64, u32, u64, usize, NonZeroU32, NonZeroUsize, String, Rate, }

impl Write for Duration {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&duration::Text(*self))
    }
}

impl Write for HeaderName {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl Write for Method {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<T: Write> Write for Option<T> {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => to.serialize_some(&Written(value)),
            None => to.serialize_none(),
        }
    }

    fn is_there(&self) -> bool {
        self.as_ref().is_some_and(Write::is_there)
    }
}

impl<T: Write> Write for Vec<T> {
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(Written))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self as &dyn Display)
    }
}
