//! What several fuzz targets need. Inputs are text if possible, so that a person can read and write
//! them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The field values in the lines of `data`: at most `N`, and `None` for a missing or invalid value.
pub fn values<const N: usize>(data: &[u8]) -> [Option<HeaderValue>; N] {
    let mut lines = data.split(|&byte| byte == b'\n');
    std::array::from_fn(|_| HeaderValue::from_bytes(lines.next()?).ok())
}

/// The fields in the lines `name: value` of `data`.
pub fn fields(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&line[..colon]),
            HeaderValue::from_bytes(value),
        ) {
            headers.append(name, value);
        }
    }
    headers
}
