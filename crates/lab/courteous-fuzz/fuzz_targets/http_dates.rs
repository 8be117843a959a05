//! HTTP-dates in `Retry-After` and `Date`.
//!
//! The input is eight bytes of a time, and a text. The time is read exactly in each of its three
//! spellings, from either field. If the `httpdate` crate takes the text for a date in the preferred
//! form, the text is read as that crate reads it.

#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use courteous_fuzz::values;
use courteous_hints::Hints;
use http::{
    HeaderMap, HeaderValue,
    header::{DATE, RETRY_AFTER},
};
use libfuzzer_sys::fuzz_target;

/// 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

fuzz_target!(|data: &[u8]| {
    let Some((time, text)) = data.split_first_chunk() else {
        return;
    };
    let seconds = u64::from_le_bytes(*time) % (LAST + 1);
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    for spelling in spellings(time) {
        let spelling = HeaderValue::try_from(spelling).expect("visible");
        // A year of two digits may be one of the next fifty.
        if is_short(&spelling) && seconds > LAST - 51 * 366 * 86_400 {
            continue;
        }
        // Counted from the earliest time and back to it: exactly the time.
        let from_start = Duration::from_secs(if is_short(&spelling) { 0 } else { seconds });
        assert_eq!(wait(&spelling, None, time - from_start), from_start);
        let year_later = time + Duration::from_secs(365 * 86_400);
        let later = HeaderValue::try_from(httpdate::fmt_http_date(year_later.min(last())));
        let later = later.expect("visible");
        let between = year_later
            .min(last())
            .duration_since(time)
            .unwrap_or_default();
        assert_eq!(wait(&later, Some(&spelling), time), between);
        assert_eq!(wait(&spelling, Some(&later), time), Duration::ZERO);
    }

    let [retry_after, date] = values(text);
    for text in [&retry_after, &date].into_iter().flatten() {
        let read = text.to_str().ok().and_then(|text| {
            let time = httpdate::parse_http_date(text).ok()?;
            (httpdate::fmt_http_date(time) == text).then_some(time)
        });
        if let Some(time) = read {
            let expected = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            assert_eq!(wait(text, None, UNIX_EPOCH), expected);
        }
    }
    let mut headers = HeaderMap::new();
    for (name, value) in [(RETRY_AFTER, retry_after), (DATE, date)] {
        headers.extend(value.map(|value| (name, value)));
    }
    let _ = (Hints::at(&headers, time).wait(), Hints::of(&headers).wait());
});

fn last() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(LAST)
}

/// Whether the value is in the form whose year has two digits.
fn is_short(value: &HeaderValue) -> bool {
    value.as_bytes().contains(&b'-')
}

fn wait(retry_after: &HeaderValue, date: Option<&HeaderValue>, received: SystemTime) -> Duration {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, retry_after.clone());
    headers.extend(date.map(|date| (DATE, date.clone())));
    let wait = Hints::at(&headers, received).retry_after();
    wait.unwrap_or_else(|| panic!("no date: {retry_after:?}"))
}

/// RFC 9110 section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`.
fn spellings(time: SystemTime) -> [String; 3] {
    const DAYS: [&str; 7] = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let preferred = httpdate::fmt_http_date(time);
    let (weekday, day, month) = (&preferred[..3], &preferred[5..7], &preferred[8..11]);
    let (year, clock) = (&preferred[12..16], &preferred[17..25]);
    let full = DAYS
        .iter()
        .find(|full| full.starts_with(weekday))
        .expect("a weekday");
    let short = format!("{full}, {day}-{month}-{} {clock} GMT", &year[2..]);
    let blank = day.replacen('0', " ", usize::from(day.starts_with('0')));
    let asctime = format!("{weekday} {month} {blank} {clock} {year}");
    [preferred, short, asctime]
}
