use std::{fmt, net::IpAddr};

use courteous::{
    BoxError,
    core::{Origin, RequestView},
};
use courteous_dead_letter::{Letter, Secrets};
use http::{
    HeaderName, HeaderValue, Request, Uri,
    uri::{Authority, Scheme},
};

/// Withheld header fields that are read from the environment: on a command line, other users could
/// see them.
///
/// Each field is bound to one server. An outsider may have chosen the URL of a letter by
/// registering a webhook. So a letter never decides where a secret goes.
pub(crate) struct FreshHeaders(Vec<FreshHeader>);

struct FreshHeader {
    name: HeaderName,
    value: HeaderValue,
    /// Host and port. Without a port, the port is the default port of the letter's scheme.
    server: Authority,
}

/// Why a `--header` cannot be used. It does not repeat the argument, as that may be the secret
/// itself.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// The argument does not have the right form.
    Form,
    /// The argument names no server.
    NoServer,
    /// The variable is not set, or its value is not valid in a header field.
    Value(String),
}

impl FreshHeaders {
    pub(crate) fn parse(texts: &[String]) -> Result<Self, Unusable> {
        let headers = texts.iter().map(|text| FreshHeader::parse(text));
        Ok(Self(headers.collect::<Result<_, _>>()?))
    }

    /// The secrets that `letter` needs and that are for the server to which it goes.
    pub(crate) fn secrets(&self, letter: &Letter) -> Result<Secrets, BoxError> {
        let mut secrets = Secrets::new();
        for header in &self.0 {
            if letter.withheld.headers.contains(&header.name) && header.is_for(&letter.uri) {
                if !is_private(&letter.uri) {
                    let name = &header.name;
                    return Err(format!(
                        "{name} is sent over https, or to a loopback address, and nowhere else"
                    )
                    .into());
                }
                secrets = secrets.with_header(header.name.clone(), header.value.clone());
            }
        }
        Ok(secrets)
    }
}

impl FreshHeader {
    fn parse(text: &str) -> Result<Self, Unusable> {
        let (name, rest) = text.split_once("=env:").ok_or(Unusable::Form)?;
        let (variable, server) = match rest.split_once('@') {
            Some((variable, server)) => (variable, Some(server)),
            None => (rest, None),
        };
        let name = name.parse::<HeaderName>().map_err(|_| Unusable::Form)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if variable.is_empty() || !variable.bytes().all(is_name) {
            return Err(Unusable::Form);
        }
        let server = parse_server(server.ok_or(Unusable::NoServer)?).ok_or(Unusable::Form)?;
        let value = std::env::var(variable).map_err(|_| {
            Unusable::Value(format!(
                "{variable}, which is to have the value of {name}, is not set"
            ))
        })?;
        let value = HeaderValue::try_from(value).map_err(|_| {
            Unusable::Value(format!(
                "the value in {variable} cannot be that of a header field"
            ))
        })?;
        Ok(Self {
            name,
            value,
            server,
        })
    }

    fn is_for(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return false;
        };
        let (wanted, meant) = (origin(scheme, authority), origin(scheme, &self.server));
        wanted.is_some() && wanted == meant
    }
}

/// `HOST` or `HOST:PORT`, and no other part that an authority may have.
fn parse_server(text: &str) -> Option<Authority> {
    let server: Authority = text.parse().ok()?;
    let port = text.strip_prefix(server.host())?;
    let has_port = match port.strip_prefix(':') {
        Some(digits) => digits.parse::<u16>().is_ok_and(|port| port > 0),
        None => port.is_empty(),
    };
    (has_port && !server.host().is_empty()).then_some(server)
}

fn origin(scheme: &Scheme, authority: &Authority) -> Option<Origin> {
    let uri = Uri::builder()
        .scheme(scheme.clone())
        .authority(authority.clone())
        .path_and_query("/")
        .build();
    let request = Request::builder().uri(uri.ok()?).body(()).ok()?;
    Some(RequestView::of(&request).origin())
}

/// Whether only its server can read what is sent to `uri`: it is encrypted, or stays on this
/// machine.
fn is_private(uri: &Uri) -> bool {
    if uri.scheme() == Some(&Scheme::HTTPS) {
        return true;
    }
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FORM: &str = "`authorization=env:API_TOKEN@api.example.com`, with `:PORT` if it is not the default one, \
             and an IPv6 address in brackets";
        match self {
            Self::Form => write!(
                f,
                "--header must read like {FORM}: values do not belong on a command line"
            ),
            Self::NoServer => write!(
                f,
                "--header must name the server that may have the secret, like {FORM}"
            ),
            Self::Value(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Unusable {}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(server: &str) -> FreshHeader {
        FreshHeader::parse(&format!("authorization=env:PATH@{server}")).unwrap()
    }

    #[test]
    fn a_value_is_read_from_the_environment_and_from_nowhere_else() {
        let header = FreshHeader::parse("x-path=env:PATH@a.example").unwrap();
        assert_eq!(
            (header.name.as_str(), header.server.as_str()),
            ("x-path", "a.example")
        );
        assert_eq!(header.value, std::env::var("PATH").unwrap());
        for wrong in [
            "authorization=hunter2",
            "authorization=env:",
            "authorization=env:PATH@",
            "authorization=env:hunter2 @a.example",
            "author ization=env:hunter2@a.example",
            "hunter2",
        ] {
            let error = FreshHeader::parse(wrong).err().unwrap().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("authorization=env:API_TOKEN@api.example.com"));
        }
        let error = FreshHeader::parse("cookie=env:NO_SUCH_VARIABLE@a.example");
        let error = error.err().unwrap().to_string();
        assert!(error.contains("NO_SUCH_VARIABLE"), "{error}");
    }

    #[test]
    fn a_server_must_be_named_by_its_host_and_at_most_a_port() {
        let error = FreshHeader::parse("cookie=env:PATH").err().unwrap();
        assert!(error.to_string().contains("must name the server"));
        for right in [
            "a.example",
            "a.example:8443",
            "[::1]",
            "[::1]:80",
            "10.0.0.1",
        ] {
            assert_eq!(header(right).server.as_str(), right);
        }
        for wrong in [
            "a.example:",
            "a.example:0",
            "a.example:65536",
            "a.example:http",
            "::1",
            "[::1",
            ":443",
            "me@a.example",
            "https://a.example",
            "a.example/path",
            "*.a.example/",
        ] {
            let parsed = FreshHeader::parse(&format!("cookie=env:PATH@{wrong}"));
            assert!(matches!(parsed, Err(Unusable::Form)), "{wrong}");
        }
    }

    #[test]
    fn a_secret_goes_to_its_host_and_port_only() {
        let is_for = |server, uri| header(server).is_for(&Uri::from_static(uri));
        assert!(is_for("a.example", "https://A.example/1"));
        assert!(is_for("a.example:443", "https://a.example/1"));
        assert!(is_for("a.example", "https://a.example:443/1"));
        assert!(is_for("[::1]:8080", "http://[::1]:8080/"));
        // However the host is spelled.
        assert!(is_for("a.example", "https://a.example./1"));
        assert!(is_for("[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/"));
        for other in [
            "https://a.example:8443/",
            "https://b.example/",
            "https://sub.a.example/",
            "https://a.example.b.example/",
            "https://a.example@b.example/",
            "https://a.example:443@b.example/",
            "http://a.example:443/",
            "/relative",
        ] {
            let goes = is_for("a.example", other) && is_private(&Uri::from_static(other));
            assert!(!goes, "{other}");
        }
        assert!(!is_for("a.example:8443", "https://a.example/"));
    }

    #[test]
    fn only_https_and_this_machine_are_private() {
        for private in [
            "https://a.example/",
            "http://localhost:8080/",
            "http://127.0.0.1/",
            "http://127.8.9.1:80/",
            "http://[::1]:80/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(is_private(&Uri::from_static(private)), "{private}");
        }
        for open in [
            "http://a.example/",
            "http://10.0.0.1/",
            "http://localhost.a.example/",
            "http://127.0.0.1.a.example/",
            "http://localhost@a.example/",
            "http://[fe80::1]/",
        ] {
            assert!(!is_private(&Uri::from_static(open)), "{open}");
        }
    }
}
