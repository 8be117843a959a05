//! `grpc-timeout` on a request that another client has made, and `grpc-retry-pushback-ms`.
//!
//! The input is the time that is left, in eight bytes of nanoseconds, and then a line for each
//! field. In each format, the server never gets more time than is left; and a pushback means what
//! gRFC A6 says.

#![no_main]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use courteous_fuzz::values;
use courteous_hints::{Hints, Pushback};
use courteous_timeout::{AttemptTimeoutLayer, DeadlineFormat};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use tokio_test::{assert_ready, task};
use tower_layer::Layer;
use tower_service::Service;

const NAME: HeaderName = HeaderName::from_static("time-left");

fuzz_target!(|data: &[u8]| {
    let Some((nanos, text)) = data.split_first_chunk() else {
        return;
    };
    let nanos = u64::from_le_bytes(*nanos);
    let [stated, pushback] = values(text);
    // Of all sizes, also beyond what eight digits of hours can express.
    for left in [
        Duration::from_nanos(nanos),
        Duration::from_secs(nanos >> 10),
    ] {
        check(left, stated.as_ref(), DeadlineFormat::Grpc, grpc);
        check(left, stated.as_ref(), DeadlineFormat::Millis, millis);
        check(left, stated.as_ref(), DeadlineFormat::Seconds, seconds);
    }

    if let Some(value) = pushback {
        let expected = value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<i32>().ok().filter(|n| n.to_string() == text))
            .and_then(|number| u64::try_from(number).ok())
            .map_or(Pushback::Veto, |ms| {
                Pushback::After(Duration::from_millis(ms))
            });
        let mut headers = HeaderMap::new();
        headers.insert("grpc-retry-pushback-ms", value.clone());
        assert_eq!(Hints::of(&headers).grpc_pushback(), Some(expected));
        headers.append("grpc-retry-pushback-ms", value);
        assert_eq!(Hints::of(&headers).grpc_pushback(), Some(Pushback::Veto));
    }
});

/// Nanoseconds, and how many of them one unit of the last digit is.
type Time = (u128, u128);

fn check(
    left: Duration,
    stated: Option<&HeaderValue>,
    format: DeadlineFormat,
    read: fn(&str) -> Option<Time>,
) {
    let read = |value: &HeaderValue| read(value.to_str().ok()?);
    let sent = send(left, stated, format);
    let left = left.as_nanos();
    let Some(sent) = sent else {
        assert!(left < 1_000_000, "nothing sent, with {left} ns left");
        return;
    };
    let Some((time, digit)) = read(&sent) else {
        panic!("{sent:?} is no {format:?}");
    };
    assert!(time <= left, "{sent:?} with {left} ns left");
    match stated.and_then(read) {
        Some((time, _)) if time <= left => assert_eq!(Some(&sent), stated),
        _ => {
            let most = 99_999_999 * 3_600_000_000_000;
            assert!(left - time < digit || time == most, "{sent:?} of {left} ns");
            // The finest unit that fits: the last digit is worth a millisecond, or little of the
            // whole.
            assert!(digit <= 1_000_000 || left / digit >= 99_999);
        }
    }
}

/// The field as it is sent with `left` to go, if it is sent.
fn send(
    left: Duration,
    stated: Option<&HeaderValue>,
    format: DeadlineFormat,
) -> Option<HeaderValue> {
    let recorder = Recorder::default();
    let layer = AttemptTimeoutLayer::new(left).with_deadline_header(NAME, format);
    let mut service = layer.layer(recorder.clone());
    let mut request = Request::new(String::new());
    request
        .headers_mut()
        .extend(stated.map(|value| (NAME, value.clone())));
    let response = assert_ready!(task::spawn(service.call(request)).poll());
    let sent = recorder.0.lock().expect("no panic").take();
    assert_eq!(response.is_ok(), sent.is_some());
    let values = sent?.get_all(NAME).iter().cloned().collect::<Vec<_>>();
    let [value] = values.try_into().expect("one value");
    Some(value)
}

/// Answers at once, and keeps the headers of the last request.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Option<HeaderMap>>>);

impl Service<Request<String>> for Recorder {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        *self.0.lock().expect("no panic") = Some(request.headers().clone());
        ready(Ok(Response::new(())))
    }
}

/// "TimeoutValue -> {positive integer as ASCII string of at most 8 digits}", and a unit.
fn grpc(text: &str) -> Option<Time> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "S" => 1_000_000_000,
        "M" => 60_000_000_000,
        "H" => 3_600_000_000_000,
        _ => return None,
    };
    let short = digits.len() <= 8;
    short.then(|| Some((number(digits)? * unit, unit)))?
}

fn millis(text: &str) -> Option<Time> {
    let millis: u64 = u64::try_from(number(text)?).ok()?;
    Some((u128::from(millis) * 1_000_000, 1_000_000))
}

fn seconds(text: &str) -> Option<Time> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let whole = u64::try_from(number(whole)?).ok()?;
    if decimals.is_empty() || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: String = decimals
        .chars()
        .chain(std::iter::repeat('0'))
        .take(9)
        .collect();
    Some((
        u128::from(whole) * 1_000_000_000 + number(&nanos)?,
        1_000_000,
    ))
}

/// At most as many digits as a `u64` has; leading zeros are allowed.
fn number(digits: &str) -> Option<u128> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain
        .then(|| digits.trim_start_matches('0'))
        .filter(|digits| digits.len() <= 20)
        .map(|digits| digits.parse().unwrap_or(0))
}
