use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    uri::{Authority, PathAndQuery},
};

use super::{
    query::{decode, normal_name, rewrite},
    scrub::Scrubber,
    secret_names::SecretNames,
    secret_values::is_credential,
};
use crate::{Tags, Withheld};

/// The word that replaces a withheld query value.
const PLACEHOLDER: &str = "withheld";

/// The rules for what is secret.
#[derive(Clone, Debug)]
pub(crate) struct Secrecy {
    pub(crate) headers: SecretNames,
    pub(crate) query: SecretNames,
}

/// A request without its secrets.
pub(crate) struct Stripped {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) withheld: Withheld,
    /// The secrets to remove from texts.
    pub(crate) scrubber: Scrubber,
}

impl Secrecy {
    pub(crate) const fn new() -> Self {
        Self {
            headers: SecretNames::new(),
            query: SecretNames::new(),
        }
    }

    /// The request's target and header fields without secrets; `key_header` does not count as a
    /// secret.
    pub(crate) fn strip(
        &self,
        uri: &Uri,
        mut headers: HeaderMap,
        key_header: &HeaderName,
    ) -> Stripped {
        let mut withheld = Withheld::new();
        let mut scrubber = Scrubber::new(self.query.clone());
        let uri = self.strip_uri(uri, &mut withheld, &mut scrubber);
        for (name, value) in &headers {
            if name != key_header && self.is_secret_field(name, value) {
                scrubber.learn_field(value.as_bytes());
                add(&mut withheld.headers, name);
            }
        }
        // A secret that is now known may also be in another field; and a field such as `Referer`
        // may hold other secrets.
        for (name, value) in &headers {
            if name != key_header && holds_secret(&scrubber, value) {
                add(&mut withheld.headers, name);
            }
        }
        for name in &withheld.headers {
            headers.remove(name);
        }
        Stripped {
            uri,
            headers,
            withheld,
            scrubber,
        }
    }

    /// `tags` without values that are secret: those with secret names, and those that hold a secret
    /// of the request.
    pub(crate) fn strip_tags(&self, tags: Tags, scrubber: &Scrubber) -> Tags {
        let stripped = tags.iter().map(|(name, value)| {
            let is_secret = !value.is_empty() && self.headers.is_secret(name)
                || is_credential(value)
                || scrubber.knows_part_of(value)
                || has_secret_url(scrubber, value);
            (name, if is_secret { PLACEHOLDER } else { value })
        });
        stripped.collect()
    }

    fn is_secret_field(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        let by_form = || {
            let value = String::from_utf8_lossy(value.as_bytes());
            !self.headers.is_plain(name.as_str()) && is_credential(&value)
        };
        value.is_sensitive() || self.headers.is_secret(name.as_str()) || by_form()
    }

    fn is_secret_value(&self, name: &str, value: &str, scrubber: &Scrubber) -> bool {
        let by_form = || {
            let value = decode(value);
            !self.query.is_plain(name) && is_credential(&value) || has_secret_url(scrubber, &value)
        };
        self.query.is_secret(name) || by_form()
    }

    fn strip_uri(&self, uri: &Uri, withheld: &mut Withheld, scrubber: &mut Scrubber) -> Uri {
        let mut parts = uri.clone().into_parts();
        if let Some(authority) = &parts.authority
            && let Some((userinfo, host)) = authority.as_str().rsplit_once('@')
        {
            withheld.userinfo = true;
            scrubber.learn_userinfo(userinfo);
            parts.authority = host.parse().ok();
        }
        if let Some(query) = uri.query() {
            let mut found = Vec::new();
            let stripped = rewrite(query, |name, value| {
                let is_secret = !value.is_empty() && self.is_secret_value(name, value, scrubber);
                is_secret.then(|| {
                    found.push((name.to_lowercase(), value.to_owned()));
                    PLACEHOLDER.to_owned()
                })
            });
            for (name, value) in found {
                scrubber.learn(&value);
                scrubber.learn(&decode(&value));
                scrubber.learn(&decode(&value.replace('+', " ")));
                if !withheld.query.contains(&name) {
                    withheld.query.push(name);
                }
            }
            if !withheld.query.is_empty() {
                parts.path_and_query = path_and_query(uri, &stripped);
            }
        }
        // What was valid with other values is valid with these. If it were not, none of it would be
        // written.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// The target with fresh secrets in place of the withheld ones. Each secret is given by its name.
pub(crate) fn fill_uri(
    uri: &Uri,
    userinfo: Option<&str>,
    fresh: impl Fn(&str) -> Option<String>,
) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    if let Some(userinfo) = userinfo {
        let host = parts.authority.as_ref()?;
        parts.authority = Some(Authority::try_from(format!("{userinfo}@{host}")).ok()?);
    }
    if let Some(query) = uri.query() {
        let filled = rewrite(query, |name, value| {
            (value == PLACEHOLDER).then(|| fresh(&normal_name(name)))?
        });
        parts.path_and_query = Some(path_and_query(uri, &filled)?);
    }
    Uri::from_parts(parts).ok()
}

fn path_and_query(uri: &Uri, query: &str) -> Option<PathAndQuery> {
    format!("{}?{query}", uri.path()).try_into().ok()
}

fn add(names: &mut Vec<HeaderName>, name: &HeaderName) {
    if !names.contains(name) {
        names.push(name.clone());
    }
}

fn holds_secret(scrubber: &Scrubber, value: &HeaderValue) -> bool {
    let text = String::from_utf8_lossy(value.as_bytes());
    scrubber.knows_part_of(&text) || has_secret_url(scrubber, &text)
}

/// Whether `text` holds a URL with a secret by its names, as the target of a redirect may.
fn has_secret_url(scrubber: &Scrubber, text: &str) -> bool {
    text.contains("://") && scrubber.scrub(text) != text
}

#[cfg(test)]
mod tests {
    use http::header::REFERER;

    use super::*;

    const KEY: HeaderName = HeaderName::from_static("idempotency-key");

    fn strip(uri: &str, headers: &[(&'static str, &'static str)]) -> Stripped {
        let headers = headers.iter().map(|&(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        Secrecy::new().strip(&uri.parse().unwrap(), headers.collect(), &KEY)
    }

    #[test]
    fn a_target_without_secrets_is_left_as_it_is() {
        for uri in [
            "/",
            "/a?",
            "/a?b=c&&d",
            "*",
            "https://a.example",
            "https://a.example:8443/?q=%3D",
            "a.example:443",
            "https://a.example/@b?x=@",
        ] {
            let stripped = strip(uri, &[]);
            assert_eq!(stripped.uri, uri.parse::<Uri>().unwrap(), "{uri}");
            assert!(stripped.withheld.is_empty());
        }
    }

    #[test]
    fn user_and_secret_query_values_are_withheld_and_can_be_filled_in_again() {
        let uri = "https://me:hunter2@a.example:8443/b?x=1&Sig=abc%20d;e&y=2&sig=f&password=";
        let stripped = strip(uri, &[]);
        assert_eq!(
            stripped.uri,
            "https://a.example:8443/b?x=1&Sig=withheld&y=2&sig=withheld&password="
        );
        assert_eq!(stripped.withheld.query, ["sig"]);
        assert!(stripped.withheld.userinfo);
        let fresh = |name: &str| (name == "sig").then(|| "new".to_owned());
        let filled = fill_uri(&stripped.uri, Some("you:%20"), fresh).unwrap();
        assert_eq!(
            filled,
            "https://you:%20@a.example:8443/b?x=1&Sig=new&y=2&sig=new&password="
        );
    }

    #[test]
    fn a_url_in_the_query_is_withheld_if_it_has_a_secret() {
        let stripped = strip("/?Next=https%3A%2F%2Fb.example%2F%3Fsig%3Dabc&x=1", &[]);
        assert_eq!(stripped.uri, "/?Next=withheld&x=1");
        assert_eq!(stripped.withheld.query, ["next"]);
        let harmless = "/?next=https%3A%2F%2Fb.example%2F%3Fpage%3D2";
        assert!(strip(harmless, &[]).withheld.is_empty());
    }

    #[test]
    fn header_fields_are_withheld_by_name_by_mark_and_by_content() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=cookie-1"));
        headers.append("cookie", HeaderValue::from_static("b=cookie-2"));
        headers.append("x-plain", HeaderValue::from_static("plain"));
        let mut marked = HeaderValue::from_static("marked");
        marked.set_sensitive(true);
        headers.append("x-marked", HeaderValue::from_static("the other"));
        headers.append("x-marked", marked.clone());
        headers.append("x-copy", HeaderValue::from_static("holds cookie-2, too"));
        headers.append(
            REFERER,
            HeaderValue::from_static("https://b.example/?key=z"),
        );
        headers.append(KEY, marked);
        let stripped = Secrecy::new().strip(&Uri::from_static("/"), headers, &KEY);
        let mut names: Vec<_> = stripped.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["idempotency-key", "x-plain"]);
        let withheld = stripped.withheld.to_string();
        assert_eq!(withheld, "cookie, x-marked, x-copy, referer");
    }

    #[test]
    fn the_key_is_no_secret_whatever_it_is_made_of() {
        let stripped = strip(
            "/?token=abcdefgh",
            &[
                ("idempotency-key", "abcdefgh"),
                ("authorization", "abcdefgh"),
            ],
        );
        assert_eq!(stripped.headers[KEY], "abcdefgh");
    }
}
