//! Letters as they are shown. Withheld values are not here, as the store does not have them. Bodies
//! are shown only on request.

use std::{fmt::Write, time::SystemTime};

use courteous_dead_letter::{NotSent, PastAttempt, Payload, Reason, Record, State, Stats};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::span::Span;

/// Everything that is kept of a letter.
pub(crate) fn json(record: &Record, with_body: bool) -> Value {
    let letter = &record.letter;
    let failure = &letter.failure;
    let mut json = json!({
        "id": letter.id.to_string(),
        "state": record.state.kind().as_str(),
        "reason": failure.reason.as_str(),
        "recorded_at": time(letter.id.recorded_at()),
        "first_at": time(letter.first_at),
        "last_at": time(failure.last_at),
        "changed_at": time(record.changed_at),
        "not_before": failure.not_before.map(time),
        "never_again": never_again(record),
        "method": letter.method.as_str(),
        "uri": letter.uri.to_string(),
        "headers": headers(&letter.headers),
        "withheld": letter.withheld.to_string(),
        "idempotency_key": letter.key(),
        "idempotent": letter.idempotent,
        "body": { "kind": letter.payload.kind(), "bytes": letter.payload.bytes().len() },
        "tags": letter.tags.iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>(),
        "attempts": failure.attempts,
        "replays": record.redrives,
        "maybe_sent": failure.maybe_sent,
        "maybe_processed": failure.maybe_sent && failure.maybe_processed,
        "last_status": failure.last_status.map(|status| status.as_u16()),
        "last_error": failure.last_error,
        "history": failure.history.iter().map(attempt).collect::<Vec<_>>(),
    });
    match record.state {
        State::Claimed { until, .. } => json["claimed_until"] = time(until).into(),
        State::Delivered { status } | State::Refused { status } => {
            json["status"] = status.as_u16().into();
        }
        _ => {}
    }
    if with_body {
        let bytes = letter.payload.bytes();
        match str::from_utf8(bytes) {
            Ok(text) => json["body"]["text"] = text.into(),
            Err(_) => json["body"]["base64"] = base64(bytes).into(),
        }
    }
    json
}

/// Why no replay sends the letter, if that is so whatever the replay's options are.
pub(crate) fn never_again(record: &Record) -> Option<String> {
    let why = match record.letter.payload {
        Payload::Truncated(_) | Payload::Gone => NotSent::BodyIncomplete,
        Payload::Scrubbed(_) => NotSent::BodyScrubbed,
        _ if matches!(record.state, State::Expired)
            && record.letter.failure.reason == Reason::KeyRunsOut =>
        {
            return Some(KEY_RUNS_OUT.to_owned());
        }
        _ if record.letter.failure.reason == Reason::KeyReused => {
            return Some(KEY_REUSED.to_owned());
        }
        _ => return None,
    };
    Some(why.to_string())
}

pub(crate) const KEY_RUNS_OUT: &str =
    "the server asked for a longer pause than its key lives, and it may have been processed";

const KEY_REUSED: &str = "another operation has its key, and it was not sent";

/// A line of a list.
pub(crate) fn line(record: &Record) -> String {
    let letter = &record.letter;
    let failure = &letter.failure;
    let answer = match record.state {
        State::Delivered { status } | State::Refused { status } => Some(status),
        _ => failure.last_status,
    };
    let status = match answer {
        Some(status) => format!(" ({})", status.as_u16()),
        None => String::new(),
    };
    format!(
        "{}  {}  {:<9}  {:<14}  {} {}{status}",
        letter.id,
        time(letter.id.recorded_at()),
        record.state.kind(),
        failure.reason,
        letter.method,
        letter.uri,
    )
}

/// Everything that is kept of a letter, for people.
pub(crate) fn page(record: &Record, with_body: bool) -> String {
    let mut page = String::new();
    let json = json(record, with_body);
    for (name, value) in json.as_object().into_iter().flatten() {
        let shown = match value {
            Value::Null => continue,
            Value::String(text) if text.is_empty() => continue,
            Value::Array(items) if items.is_empty() => continue,
            Value::Object(items) if items.is_empty() => continue,
            Value::String(text) => one_line(text),
            Value::Array(items) => items.iter().map(|item| format!("\n    {item}")).collect(),
            other => other.to_string(),
        };
        // Writing to a string never fails.
        let _ = writeln!(page, "{name:<16} {shown}");
    }
    page
}

pub(crate) fn stats_json(stats: &Stats) -> Value {
    let counts = stats.counts.iter().map(|count| {
        json!({ "state": count.state.as_str(), "reason": count.reason.as_str(), "count": count.count })
    });
    json!({
        "total": stats.total(),
        "undelivered": stats.undelivered(),
        "oldest_age_seconds": stats.oldest_age.map(|age| age.as_secs()),
        "counts": counts.collect::<Vec<_>>(),
        "unreadable": stats.unreadable,
    })
}

pub(crate) fn stats_page(stats: &Stats) -> String {
    let mut page = String::new();
    for count in &stats.counts {
        let _ = writeln!(
            page,
            "{:<9}  {:<19}  {:>9}",
            count.state, count.reason, count.count
        );
    }
    let _ = write!(
        page,
        "{} in all, {} to be delivered",
        stats.total(),
        stats.undelivered()
    );
    if stats.unreadable > 0 {
        let _ = write!(page, ", {} that cannot be read", stats.unreadable);
    }
    match stats.oldest_age {
        Some(age) => {
            let _ = writeln!(page, ", the oldest for {}", Span(age));
        }
        None => page.push('\n'),
    }
    page
}

/// RFC 3339, in UTC and to the millisecond.
pub(crate) fn time(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => "after the year 9999".to_owned(),
    }
}

fn headers(headers: &HeaderMap) -> Value {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| json!([name.as_str(), text(value)]))
        .collect()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn attempt(attempt: &PastAttempt) -> Value {
    json!({
        "number": attempt.number,
        "ended": time(attempt.ended),
        "status": attempt.status.map(|status| status.as_u16()),
        "verdict": format!("{:?}", attempt.verdict),
    })
}

/// Text of a server or of a tag on one line, as such a text could move the cursor of a terminal.
fn one_line(text: &str) -> String {
    let safe = |char: char| match char.is_control() {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(safe).collect()
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let sextet = (bits >> (18 - 6 * i)) as usize & 63;
            text.push(if i <= chunk.len() {
                ALPHABET[sextet].into()
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4648, section 10
    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn what_could_move_a_cursor_is_escaped() {
        assert_eq!(one_line("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
