use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::Full;

/// The field of the idempotency key.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The body of a realistic request.
pub(crate) const BODY: Bytes = Bytes::from_static(&[b'x'; 128]);

pub(crate) type Request = http::Request<Full<Bytes>>;

/// What is sent, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A long-lived service over a transport that is ready and answers at once; no header fields, no body.
    Floor,
    /// A service cloned for each request over a transport that is pending once; a `POST` with 4 header fields and a body of
    /// 128 bytes.
    Realistic,
}

impl Shape {
    pub(crate) const ALL: [Self; 2] = [Self::Floor, Self::Realistic];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Realistic => "realistic",
        }
    }

    /// A request of this shape.
    ///
    /// `keyed` asks for a request that a retry may send again as it is: at the floor by its method,
    /// else by an idempotency key, which is one of its 4 fields. A request that is not keyed gets a
    /// key from a key layer.
    #[inline(never)]
    pub(crate) fn request(self, keyed: bool) -> Request {
        match self {
            Self::Floor => floor(keyed),
            Self::Realistic => realistic(keyed),
        }
    }
}

/// URIs of this many origins.
pub(crate) fn uris(origins: usize) -> Vec<Uri> {
    let uri = |number| format!("https://api-{number}.example/v1/charges").parse();
    let uris = (0..origins).map(|number| uri(number).unwrap_or_default());
    uris.collect()
}

fn floor(keyed: bool) -> Request {
    let mut request = Request::new(Full::default());
    if !keyed {
        *request.method_mut() = Method::POST;
    }
    request
}

fn realistic(keyed: bool) -> Request {
    let mut request = Request::new(Full::from(BODY));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("http://api.test/v1/charges");
    let fields = request.headers_mut();
    for (name, value) in [
        (header::ACCEPT, "application/json"),
        (header::AUTHORIZATION, "Bearer token"),
        (header::CONTENT_TYPE, "application/json"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    if keyed {
        fields.insert(KEY, HeaderValue::from_static("9b2f"));
    } else {
        fields.insert(header::USER_AGENT, HeaderValue::from_static("test"));
    }
    request
}
