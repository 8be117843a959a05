use std::{borrow::Cow, error::Error, fmt};

use crate::plain;

/// Settings of which one cannot be, or contradicts another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSettings {
    field: String,
    rule: Cow<'static, str>,
}

impl InvalidSettings {
    /// The setting `field` breaks `rule`, which is a clause that tells the value.
    #[must_use]
    pub fn new(field: &str, rule: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: field.to_owned(),
            rule: rule.into(),
        }
    }

    /// The setting is within the settings `outer`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self {
            field: plain::path(outer, &self.field),
            rule: self.rule,
        }
    }

    /// The setting: `retry.backoff.cap`, for one.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.field, self.rule)
    }
}

impl Error for InvalidSettings {}
