use courteous_core::{Host, Origin, RequestView};
use http::uri::Authority;

use crate::InvalidHosts;

/// Where keys may go.
#[derive(Clone, Debug, Default)]
pub(crate) enum Hosts {
    #[default]
    All,
    Only(Vec<Pattern>),
}

/// `host`, `host:port`, `*.host` or `*.host:port`.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    host: Authority,
    below: bool,
}

impl Hosts {
    pub(crate) fn only<I>(hosts: I) -> Result<Self, InvalidHosts>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let hosts = hosts.into_iter();
        hosts
            .map(|host| Pattern::parse(host.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }

    /// As they were stated; `None` for all.
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(patterns) => Some(patterns.iter().map(Pattern::text).collect()),
        }
    }

    pub(crate) fn include(&self, request: RequestView<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Only(patterns) => {
                let origin = request.origin();
                patterns.iter().any(|pattern| pattern.matches(&origin))
            }
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, InvalidHosts> {
        let (host, below) = match text.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (text, false),
        };
        let host = host.parse::<Authority>().ok().filter(|host| {
            // An authority may also have a user, or a port that is empty or is none.
            let port = host.as_str().strip_prefix(host.host());
            !host.host().is_empty()
                && !host.host().contains('*')
                && port.is_some_and(|port| port.is_empty() || host.port_u16().is_some())
        });
        match host {
            Some(host) => Ok(Self { host, below }),
            None => Err(InvalidHosts::new(text)),
        }
    }

    fn text(&self) -> String {
        match self.below {
            true => format!("*.{}", self.host),
            false => self.host.to_string(),
        }
    }

    fn matches(&self, origin: &Origin) -> bool {
        let own = Host::new(self.host.host());
        let port = self.host.port_u16();
        origin.host().is_some_and(|host| match self.below {
            false => host == own,
            true => host.is_below(own),
        }) && port.is_none_or(|port| origin.port() == Some(port))
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header::HOST};

    use super::*;

    fn includes(pattern: &str, uri: &str) -> bool {
        let request = Request::builder().uri(uri).body(()).unwrap();
        Hosts::only([pattern])
            .unwrap()
            .include(RequestView::of(&request))
    }

    #[test]
    fn a_host_is_itself_in_any_case_at_any_port() {
        for uri in [
            "https://api.example.com/a",
            "https://API.Example.COM",
            "http://api.example.com:8080/",
            "https://user@api.example.com/",
        ] {
            assert!(includes("api.Example.com", uri), "{uri}");
        }
        for uri in [
            "https://example.com",
            "https://v2.api.example.com",
            "https://xapi.example.com",
            "https://api.example.com.evil.test",
            "https://evil.test/api.example.com",
            "https://api.example.com@evil.test/",
            "/",
        ] {
            assert!(!includes("api.example.com", uri), "{uri}");
        }
    }

    #[test]
    fn a_host_is_itself_however_it_is_spelled() {
        assert!(includes("api.example.com", "https://api.example.com./a"));
        assert!(includes("api.example.com.", "https://API.example.com/a"));
        assert!(includes("*.example.com", "https://api.example.com."));
        assert!(includes("*.example.com.", "https://api.example.com"));
        assert!(includes("127.0.0.1:8080", "http://127.1:8080/"));
        assert!(includes("[::1]", "http://[0:0:0:0:0:0:0:1]/"));
        assert!(includes("127.0.0.1", "http://[::ffff:7f00:1]/"));
        // An address has no names below it.
        assert!(!includes("*.0.0.1", "http://127.0.0.1/"));
    }

    #[test]
    fn a_star_is_every_name_below_and_not_the_name_itself() {
        assert!(includes("*.example.com", "https://api.example.com"));
        assert!(includes("*.example.com", "https://v2.API.example.COM"));
        for uri in [
            "https://example.com",
            "https://.example.com",
            "https://notexample.com",
            "https://com",
        ] {
            assert!(!includes("*.example.com", uri), "{uri}");
        }
    }

    #[test]
    fn a_port_is_that_port_alone_and_known_for_http_and_https() {
        assert!(includes("example.com:8443", "https://example.com:8443"));
        assert!(!includes("example.com:8443", "https://example.com"));
        assert!(includes("example.com:443", "https://example.com"));
        assert!(!includes("example.com:443", "http://example.com"));
        assert!(includes("example.com:80", "http://example.com"));
        assert!(includes("[::1]:8080", "http://[::1]:8080"));
        assert!(!includes("*.example.com:80", "https://a.example.com"));
    }

    #[test]
    fn a_relative_target_is_for_the_host_of_its_host_field() {
        let request = Request::builder().header(HOST, "api.example.com:8443");
        let request = request.uri("/a").body(()).unwrap();
        for (pattern, expected) in [
            ("api.example.com", true),
            ("api.example.com:8443", true),
            ("api.example.com:443", false),
            ("example.com", false),
        ] {
            let hosts = Hosts::only([pattern]).unwrap();
            assert_eq!(hosts.include(RequestView::of(&request)), expected);
        }
    }

    #[test]
    fn what_is_no_host_is_rejected() {
        for wrong in [
            "",
            "*",
            "*.",
            "*.*.com",
            "a.*.com",
            "https://example.com",
            "example.com/a",
            "user@example.com",
            "example.com:",
            "example.com:port",
            "example.com:65536",
            ":80",
            "a b",
        ] {
            assert_eq!(Hosts::only([wrong]).unwrap_err().host(), wrong);
        }
    }
}
