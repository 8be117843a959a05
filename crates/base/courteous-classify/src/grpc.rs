use http::{HeaderMap, header::CONTENT_TYPE};

/// Whether a message with such header fields is one of gRPC's: by its `Content-Type`.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
