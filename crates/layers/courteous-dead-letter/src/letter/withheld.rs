use std::fmt;

use http::HeaderName;

/// The names of the secrets that a request had and that were not written: a redrive has to get
/// fresh ones.
///
/// Shown as a list: `authorization, token=, user:password@`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Withheld {
    /// The header fields that were left out.
    pub headers: Vec<HeaderName>,
    /// The names of the query values that were replaced by the word `withheld`: decoded, in lower case.
    pub query: Vec<String>,
    /// Whether a user, with or without a password, was left out of the target.
    pub userinfo: bool,
}

impl Withheld {
    /// Nothing was withheld.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            headers: Vec::new(),
            query: Vec::new(),
            userinfo: false,
        }
    }

    /// Whether nothing was withheld.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty() && !self.userinfo
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for header in &self.headers {
            write!(f, "{separator}{header}")?;
            separator = ", ";
        }
        for name in &self.query {
            write!(f, "{separator}{name}=")?;
            separator = ", ";
        }
        if self.userinfo {
            write!(f, "{separator}user:password@")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};

    use super::*;

    #[test]
    fn it_is_shown_as_a_list() {
        let withheld = Withheld {
            headers: vec![AUTHORIZATION, COOKIE],
            query: vec!["sig".to_owned()],
            userinfo: true,
        };
        let text = withheld.to_string();
        assert_eq!(text, "authorization, cookie, sig=, user:password@");
        assert_eq!(Withheld::new().to_string(), "");
    }
}
