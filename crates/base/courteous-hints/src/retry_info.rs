use std::time::Duration;

use http::HeaderMap;

use crate::{
    base64, fields,
    number::duration,
    protobuf::{Value, each_field},
};

/// gRPC servers keep their metadata below 8 KiB. What is longer is not worth reading.
const LONGEST: usize = 8 * 1024;

/// The longest `google.protobuf.Duration`: about 10,000 years. What claims to be more is that much.
const MOST_NANOS: i128 = 315_576_000_000 * 1_000_000_000;

/// The delay of the `google.rpc.RetryInfo` in `grpc-status-details-bin`; of several the longest.
///
/// ```text
/// google.rpc.Status            code = 1    message = 2    details = 3, repeated:
///   google.protobuf.Any        type_url = 1    value = 2:
///     google.rpc.RetryInfo     retry_delay = 1:
///       google.protobuf.Duration    seconds = 1    nanos = 2
/// ```
pub(crate) fn retry_delay(headers: &HeaderMap) -> Option<Duration> {
    let values = fields::named(headers, "grpc-status-details-bin");
    let values = values.filter(|value| value.len() <= LONGEST);
    values
        .filter_map(|value| value.to_str().ok())
        // "Implementations must split Binary-Headers on ',' before decoding."
        .flat_map(|value| value.split(','))
        .filter_map(|value| {
            let mut buffer = [0; LONGEST / 4 * 3];
            of_status(base64::decode(value.trim(), &mut buffer)?)
        })
        .max()
}

fn of_status(status: &[u8]) -> Option<Duration> {
    let mut longest = None;
    each_field(status, |number, value| {
        if let (3, Value::Bytes(detail)) = (number, value) {
            longest = longest.max(of_any(detail));
        }
    })?;
    longest
}

fn of_any(any: &[u8]) -> Option<Duration> {
    let (mut url, mut message): (&[u8], _) = (b"", None);
    each_field(any, |number, value| match (number, value) {
        (1, Value::Bytes(bytes)) => url = bytes,
        (2, Value::Bytes(bytes)) => message = Some(bytes),
        _ => {}
    })?;
    // What stands before the last slash is a host, and of no meaning.
    let name = url.rsplit(|&byte| byte == b'/').next()?;
    (name == b"google.rpc.RetryInfo").then(|| of_retry_info(message?))?
}

fn of_retry_info(info: &[u8]) -> Option<Duration> {
    let mut delay = None;
    each_field(info, |number, value| {
        if let (1, Value::Bytes(bytes)) = (number, value) {
            delay = Some(bytes);
        }
    })?;
    of_duration(delay?)
}

/// Below zero counts as zero.
fn of_duration(message: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanos) = (0, 0);
    each_field(message, |number, value| match (number, value) {
        (1, Value::Varint(bits)) => seconds = bits.cast_signed(),
        // An `int32` on the wire is an `int64` whose upper half is cut off.
        (2, Value::Varint(bits)) => nanos = (bits as u32).cast_signed(),
        _ => {}
    })?;
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Some(duration(nanos.clamp(0, MOST_NANOS).unsigned_abs()))
}
