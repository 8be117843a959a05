use std::sync::{Mutex, PoisonError};

use courteous::BoxError;
use courteous_dead_letter::{Letter, Secrets};
use http::{HeaderName, HeaderValue, Uri};

/// Header fields that were withheld, read from the environment: on a command line, others could see them.
pub(crate) struct FreshHeaders {
    headers: Vec<FreshHeader>,
    /// Where those go that have no host of their own: to that of the first letter that needs one, and nowhere else.
    first: Mutex<Option<String>>,
}

struct FreshHeader {
    name: HeaderName,
    value: HeaderValue,
    host: Option<String>,
}

impl FreshHeaders {
    /// An error says nothing of what was written, as somebody may have written the secret itself.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        let headers = texts.iter().map(|text| FreshHeader::parse(text));
        Ok(Self {
            headers: headers.collect::<Result<_, _>>()?,
            first: Mutex::new(None),
        })
    }

    /// Those that `letter` needs, and that are for the host to which it goes.
    pub(crate) fn secrets(&self, letter: &Letter) -> Result<Secrets, BoxError> {
        let mut secrets = Secrets::new();
        for header in &self.headers {
            if !letter.withheld.headers.contains(&header.name) {
                continue;
            }
            let is_meant = match &header.host {
                Some(host) => is_for(host, &letter.uri),
                None => self.is_for_first(&letter.uri),
            };
            if is_meant {
                secrets = secrets.with_header(header.name.clone(), header.value.clone());
            }
        }
        Ok(secrets)
    }

    fn is_for_first(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else {
            return false;
        };
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        is_for(first.get_or_insert_with(|| host.to_owned()), uri)
    }
}

fn is_for(host: &str, uri: &Uri) -> bool {
    uri.host().is_some_and(|own| own.eq_ignore_ascii_case(host))
}

impl FreshHeader {
    fn parse(text: &str) -> Result<Self, String> {
        let parse = || {
            let (name, rest) = text.split_once("=env:")?;
            let (variable, host) = match rest.split_once('@') {
                Some((variable, host)) => (variable, Some(host)),
                None => (rest, None),
            };
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let valid = !variable.is_empty() && variable.bytes().all(is_name);
            let name = name.parse::<HeaderName>().ok()?;
            (valid && host != Some("")).then_some((name, variable, host))
        };
        let Some((name, variable, host)) = parse() else {
            let form = "--header must read like `authorization=env:API_TOKEN@api.example.com`";
            return Err(format!("{form}: values do not belong on a command line"));
        };
        let value = std::env::var(variable)
            .map_err(|_| format!("{variable}, which is to have the value of {name}, is not set"))?;
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value in {variable} cannot be that of a header field"))?;
        let host = host.map(str::to_owned);
        Ok(Self { name, value, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_from_the_environment_and_from_nowhere_else() {
        let header = FreshHeader::parse("x-path=env:PATH@a.example").unwrap();
        assert_eq!(
            (header.name.as_str(), header.host.as_deref()),
            ("x-path", Some("a.example"))
        );
        assert_eq!(header.value, std::env::var("PATH").unwrap());
        for wrong in [
            "authorization=hunter2",
            "authorization=env:",
            "authorization=env:PATH@",
            "authorization=env:hunter2 ",
            "author ization=env:hunter2",
            "hunter2",
        ] {
            let error = FreshHeader::parse(wrong).err().unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = FreshHeader::parse("cookie=env:NO_SUCH_VARIABLE")
            .err()
            .unwrap();
        assert!(error.contains("NO_SUCH_VARIABLE"), "{error}");
    }

    #[test]
    fn a_secret_without_a_host_goes_to_one_host_only() {
        let headers = FreshHeaders::parse(&["cookie=env:PATH".to_owned()]).unwrap();
        assert!(headers.is_for_first(&Uri::from_static("https://a.example/1")));
        assert!(!headers.is_for_first(&Uri::from_static("https://b.example/1")));
        assert!(headers.is_for_first(&Uri::from_static("https://A.example/2")));
    }
}
