use std::fmt;

use courteous_core::BoxError;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::{
    BoxFuture, Letter, Withheld,
    redact::{encode, fill_uri, normal_name},
};

/// Fresh secrets for one letter, in place of the withheld ones.
///
/// A secret is added only if the letter was first sent with a secret in that place. So no server
/// gets a secret that had none before.
///
/// ```
/// use courteous_dead_letter::Secrets;
/// use http::{HeaderValue, header::AUTHORIZATION};
///
/// let secrets = Secrets::new()
///     .with_header(AUTHORIZATION, HeaderValue::from_static("Bearer fresh"))
///     .with_query("token", "fresh");
/// assert_eq!(format!("{secrets:?}"), "Secrets");
/// ```
#[derive(Clone, Default)]
pub struct Secrets {
    headers: HeaderMap,
    /// Normalised names, and values as they are written.
    query: Vec<(String, String)>,
    userinfo: Option<String>,
}

impl Secrets {
    /// No secrets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the value of a header field. If the field already has a value, this adds a further one.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.append(name, value);
        self
    }

    /// Adds the value of a query parameter, before encoding.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.query.push((normal_name(name), encode(value)));
        self
    }

    /// Adds the user and the password in the target, before encoding.
    #[must_use]
    pub fn with_user(mut self, user: &str, password: &str) -> Self {
        self.userinfo = Some(format!("{}:{}", encode(user), encode(password)));
        self
    }

    /// Target and header fields of `letter` with these secrets, or what is missing.
    pub(crate) fn fill(&self, letter: &Letter) -> Result<(Uri, HeaderMap), Withheld> {
        let Withheld {
            headers: names,
            query,
            userinfo,
        } = &letter.withheld;
        let fresh = |wanted: &str| {
            let mut all = self.query.iter();
            all.find(|(name, _)| name == wanted).map(|found| &found.1)
        };
        let mut missing = Withheld::new();
        missing.headers = names.clone();
        missing
            .headers
            .retain(|name| !self.headers.contains_key(name));
        missing.query = query.clone();
        missing.query.retain(|name| fresh(name).is_none());
        missing.userinfo = *userinfo && self.userinfo.is_none();

        let user = self.userinfo.as_deref().filter(|_| *userinfo);
        // A value that only looks like the placeholder of a secret is left as it is.
        let value = |name: &str| {
            let withheld = query.iter().any(|withheld| withheld == name);
            fresh(name).filter(|_| withheld).cloned()
        };
        match fill_uri(&letter.uri, user, value) {
            Some(uri) if missing.is_empty() => {
                let mut headers = letter.headers.clone();
                for name in names {
                    for value in self.headers.get_all(name) {
                        headers.append(name, value.clone());
                    }
                }
                Ok((uri, headers))
            }
            _ => Err(missing),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// Where a redrive gets fresh secrets.
///
/// Closures `Fn(&Letter) -> Result<Secrets, BoxError>` are sources. A source that has to wait for a token implements the trait.
pub trait SecretSource {
    /// Returns the secrets for `letter`. The letter needs the secrets that [`Letter::withheld`]
    /// names.
    ///
    /// The source must compare the letter's scheme, host and port with those of the server that may
    /// have the secret. An outsider may have chosen the target of a letter, for example by
    /// registering a webhook, and may ask for plain http or another port.
    ///
    /// # Errors
    ///
    /// If it fails, the letter is not sent, and stays pending.
    fn secrets<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Secrets, BoxError>>;
}

impl<F> SecretSource for F
where
    F: Fn(&Letter) -> Result<Secrets, BoxError>,
{
    fn secrets<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Secrets, BoxError>> {
        Box::pin(std::future::ready(self(letter)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::{
        Method,
        header::{ACCEPT, AUTHORIZATION, COOKIE},
    };

    use super::*;
    use crate::{Failure, LetterId, Reason};

    fn letter() -> Letter {
        let uri = "https://a.example/?Token=withheld&x=withheld&token=withheld";
        let failure = Failure::new(Reason::Attempts, UNIX_EPOCH);
        let id = LetterId::new(UNIX_EPOCH).unwrap();
        let mut letter = Letter::new(id, Method::POST, uri.parse().unwrap(), failure);
        letter
            .headers
            .insert(ACCEPT, HeaderValue::from_static("*/*"));
        letter.withheld.headers = vec![AUTHORIZATION, COOKIE];
        letter.withheld.query = vec!["token".to_owned()];
        letter.withheld.userinfo = true;
        letter
    }

    #[test]
    fn what_was_withheld_is_filled_in_and_nothing_else() {
        let secrets = Secrets::new()
            .with_header(AUTHORIZATION, HeaderValue::from_static("Bearer f"))
            .with_header(COOKIE, HeaderValue::from_static("a=1"))
            .with_header(COOKIE, HeaderValue::from_static("b=2"))
            .with_header(ACCEPT, HeaderValue::from_static("text/html"))
            .with_query("TOKEN", "f&g")
            .with_query("x", "not asked for")
            .with_user("me", "p@ss");
        let (uri, headers) = secrets.fill(&letter()).unwrap();
        let expected = "https://me:p%40ss@a.example/?Token=f%26g&x=withheld&token=f%26g";
        assert_eq!(uri.to_string(), expected);
        assert_eq!(headers.len(), 4);
        assert_eq!(headers[ACCEPT], "*/*");
        assert!(headers[AUTHORIZATION].is_sensitive());
        let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let secrets = Secrets::new().with_header(COOKIE, HeaderValue::from_static("a=1"));
        let missing = secrets.fill(&letter()).unwrap_err();
        let expected = "authorization, token=, user:password@";
        assert_eq!(missing.to_string(), expected);
    }
}
