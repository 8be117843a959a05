//! A record as the columns of a table, for a store in a database.
//!
//! Every store writes the same columns in the same form, so that a letter means the same in each
//! store. [`Row::new`] makes the columns of a letter. [`Row::into_record`] reads them back, or
//! names the column that cannot be read. Times are microseconds since 1970 ([`micros`], [`time`]);
//! headers, history, tags and what was withheld are JSON.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use courteous_dead_letter::{Failure, Letter, LetterId, Reason, State, row::Row};
//! use http::{Method, Uri};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
//! let uri = Uri::from_static("https://api.example/charges");
//! let failure = Failure::new(Reason::Attempts, now);
//! let letter = Letter::new(LetterId::new(now)?, Method::POST, uri, failure);
//!
//! let row = Row::new(&letter, now);
//! assert_eq!((&*row.method, &*row.state), ("POST", "pending"));
//! let record = row.into_record().expect("columns that can be read");
//! assert_eq!((record.letter, record.state), (letter, State::Pending));
//! # Ok(())
//! # }
//! ```

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use courteous_core::{Effect, Fault, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    Failure, Letter, LetterId, PastAttempt, Payload, Record, State, StateKind, Tags, Unreadable,
    Withheld,
};
pub use crate::{clock::later, letter::without_nul};

/// The version of these columns, which is the version of the stores' schema. Raise it with every
/// change of a column or of its form.
pub const VERSION: u32 = 1;

/// One row: the columns of a record.
///
/// `Debug` shows the id, the method and the state only: the other columns may hold secrets that
/// must not be in a log.
#[derive(Clone, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "stores make it of their columns")]
pub struct Row {
    /// The letter's id: the key of the table.
    pub id: LetterId,
    /// The request's method.
    pub method: String,
    /// The request's target, without secrets.
    pub uri: String,
    /// `[["name", "value"], ...]`, in order; a value that is not UTF-8 is an array of its bytes.
    pub headers: String,
    /// `{"headers": [...], "query": [...], "userinfo": true, "idempotent": true}`; a missing member
    /// means none. The last member is [`Letter::idempotent`], which no part of the request tells.
    pub withheld: String,
    /// [`Payload::kind`].
    pub body_kind: String,
    /// The bytes of the body that were kept.
    pub body: Bytes,
    /// The name of the header field that holds the idempotency key.
    pub key_header: Option<String>,
    /// For searches only; when a row is read, the key is taken from the headers.
    pub idempotency_key: Option<String>,
    /// When the call began.
    pub first_at: i64,
    /// `{"name": "value", ...}`
    pub tags: String,
    /// The columns that a failed redrive writes again.
    pub failure: FailureRow,
    /// [`StateKind`]
    pub state: String,
    /// The status, if the letter was delivered or refused.
    pub status: Option<u16>,
    /// The last fencing number; zero if the record was never claimed.
    pub fence: i64,
    /// When the claim ends, if the record is claimed.
    pub lease_until: Option<i64>,
    /// How often the letter was sent again: [`Record::redrives`].
    pub replays: u32,
    /// When `state` last changed.
    pub changed_at: i64,
}

/// The columns that a failed redrive writes again.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "stores make it of their columns")]
pub struct FailureRow {
    /// [`Reason`](crate::Reason), as its word.
    pub reason: String,
    /// How many attempts the call made.
    pub attempts: u32,
    /// `[[number, ended, "effect", "fault", status or null], ...]`. An entry whose number is 0 is
    /// not an attempt. It tells since when the request may have been processed, or by `refused`
    /// that it was not processed. Without such an entry, it may have been processed since the first
    /// attempt.
    pub history: String,
    /// Whether an attempt may have reached the server.
    pub maybe_sent: bool,
    /// The status of the last answer, if there was one.
    pub last_status: Option<u16>,
    /// The text of the last error, without secrets.
    pub last_error: Option<String>,
    /// When the last attempt ended.
    pub last_at: i64,
    /// When the letter may be sent again at the earliest.
    pub not_before: Option<i64>,
}

impl Row {
    /// The row of `letter` as it is recorded at `now`.
    #[must_use]
    pub fn new(letter: &Letter, now: SystemTime) -> Self {
        let key = letter.key();
        Self {
            id: letter.id,
            method: letter.method.as_str().to_owned(),
            uri: letter.uri.to_string(),
            headers: headers_to_json(&letter.headers),
            withheld: withheld_to_json(&letter.withheld, letter.idempotent),
            body_kind: letter.payload.kind().to_owned(),
            body: letter.payload.bytes().clone(),
            key_header: letter.key_header.as_ref().map(HeaderName::to_string),
            idempotency_key: key.map(str::to_owned),
            first_at: micros(letter.first_at),
            tags: Value::Object(letter.tags.iter().map(pair).collect()).to_string(),
            failure: FailureRow::new(&letter.failure),
            state: State::first(letter).kind().as_str().to_owned(),
            status: None,
            fence: 0,
            lease_until: None,
            replays: 0,
            changed_at: micros(now),
        }
    }

    /// The record with these columns.
    ///
    /// # Errors
    ///
    /// [`Unreadable`], which names the first column that cannot be read.
    pub fn into_record(self) -> Result<Record, Unreadable> {
        let id = self.id;
        self.read_all()
            .map_err(|column| Unreadable::new(Some(id), column))
    }

    fn read_all(self) -> Result<Record, Column> {
        let (withheld, idempotent) = read("withheld", || withheld_of_json(&self.withheld))?;
        let letter = Letter {
            method: read("method", || self.method.parse().ok())?,
            uri: read("uri", || self.uri.parse().ok())?,
            headers: read("headers", || headers_of_json(&self.headers))?,
            withheld,
            idempotent,
            payload: read("body_kind", || Payload::of(&self.body_kind, self.body))?,
            key_header: match self.key_header {
                Some(name) => Some(read("key_header", || name.parse().ok())?),
                None => None,
            },
            first_at: time(self.first_at),
            tags: read("tags", || tags_of_json(&self.tags))?,
            ..Letter::new(
                self.id,
                Method::GET,
                http::Uri::default(),
                self.failure.into_failure()?,
            )
        };
        // No claim could have a higher fencing number.
        if self.fence == i64::MAX {
            return Err("fence");
        }
        let status = || read("status", || StatusCode::from_u16(self.status?).ok());
        let state = match read("state", || self.state.parse().ok())? {
            StateKind::Pending => State::Pending,
            StateKind::Claimed => State::Claimed {
                fence: read("fence", || u64::try_from(self.fence).ok())?,
                until: time(read("lease_until", || self.lease_until)?),
            },
            StateKind::Delivered => State::Delivered { status: status()? },
            StateKind::Refused => State::Refused { status: status()? },
            StateKind::Expired => State::Expired,
            StateKind::Discarded => State::Discarded,
        };
        Ok(Record {
            letter,
            state,
            redrives: self.replays,
            changed_at: time(self.changed_at),
        })
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl FailureRow {
    /// The columns of `failure`.
    #[must_use]
    pub fn new(failure: &Failure) -> Self {
        Self {
            reason: failure.reason.as_str().to_owned(),
            attempts: failure.attempts,
            history: history_to_json(failure),
            maybe_sent: failure.maybe_sent,
            last_status: failure.last_status.map(|status| status.as_u16()),
            last_error: failure.last_error.clone(),
            last_at: micros(failure.last_at),
            not_before: failure.not_before.map(micros),
        }
    }

    fn into_failure(self) -> Result<Failure, Column> {
        let status = |status| read("last_status", || StatusCode::from_u16(status).ok());
        let mut history = read("history", || history_of_json(&self.history))?;
        let processed = history.first().filter(|first| first.number == NO_ATTEMPT);
        let processed = processed.map(|since| (since.verdict.is_maybe_processed(), since.ended));
        if processed.is_some() {
            history.remove(0);
        }
        Ok(Failure {
            reason: read("reason", || self.reason.parse().ok())?,
            attempts: self.attempts,
            history,
            maybe_sent: self.maybe_sent,
            maybe_processed: processed.is_none_or(|(is_so, _)| is_so),
            maybe_processed_since: processed.and_then(|(is_so, since)| is_so.then_some(since)),
            last_status: self.last_status.map(status).transpose()?,
            last_error: self.last_error,
            last_at: time(self.last_at),
            not_before: self.not_before.map(time),
        })
    }
}

/// Microseconds since 1970, or the nearest representable value.
#[must_use]
pub fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The inverse of [`micros`].
#[must_use]
pub fn time(micros: i64) -> SystemTime {
    let since = Duration::from_micros(micros.try_into().unwrap_or_default());
    later(UNIX_EPOCH, since)
}

/// The name of a column that cannot be read.
type Column = &'static str;

fn read<T>(column: Column, value: impl FnOnce() -> Option<T>) -> Result<T, Column> {
    value().ok_or(column)
}

fn pair((name, value): (&str, &str)) -> (String, Value) {
    (name.to_owned(), value.into())
}

fn headers_to_json(headers: &HeaderMap) -> String {
    let field = |(name, value): (&HeaderName, &HeaderValue)| match str::from_utf8(value.as_bytes())
    {
        Ok(text) => json!([name.as_str(), text]),
        Err(_) => json!([name.as_str(), value.as_bytes()]),
    };
    headers.iter().map(field).collect::<Value>().to_string()
}

fn headers_of_json(json: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for field in array(json)? {
        let name = HeaderName::try_from(field.get(0)?.as_str()?).ok()?;
        let value = match field.get(1)? {
            Value::String(text) => HeaderValue::from_bytes(text.as_bytes()),
            bytes => {
                let byte = |byte: &Value| u8::try_from(byte.as_u64()?).ok();
                let bytes: Option<Vec<u8>> = bytes.as_array()?.iter().map(byte).collect();
                HeaderValue::from_bytes(&bytes?)
            }
        };
        headers.try_append(name, value.ok()?).ok()?;
    }
    Some(headers)
}

fn withheld_to_json(withheld: &Withheld, idempotent: Option<bool>) -> String {
    let mut json = Map::new();
    if !withheld.headers.is_empty() {
        let names = withheld.headers.iter().map(HeaderName::as_str);
        json.insert("headers".to_owned(), names.collect());
    }
    if !withheld.query.is_empty() {
        json.insert("query".to_owned(), withheld.query.clone().into());
    }
    if withheld.userinfo {
        json.insert("userinfo".to_owned(), true.into());
    }
    if let Some(said) = idempotent {
        json.insert("idempotent".to_owned(), said.into());
    }
    Value::Object(json).to_string()
}

fn withheld_of_json(json: &str) -> Option<(Withheld, Option<bool>)> {
    let json: Map<String, Value> = serde_json::from_str(json).ok()?;
    let names = |key| match json.get(key) {
        Some(names) => names.as_array().map(Vec::as_slice),
        None => Some(&[][..]),
    };
    let header = |name: &Value| HeaderName::try_from(name.as_str()?).ok();
    let query = |name: &Value| Some(name.as_str()?.to_owned());
    let flag = |key| json.get(key).and_then(Value::as_bool);
    let withheld = Withheld {
        headers: names("headers")?
            .iter()
            .map(header)
            .collect::<Option<_>>()?,
        query: names("query")?.iter().map(query).collect::<Option<_>>()?,
        userinfo: flag("userinfo").unwrap_or(false),
    };
    Some((withheld, flag("idempotent")))
}

fn tags_of_json(json: &str) -> Option<Tags> {
    let json: Map<String, Value> = serde_json::from_str(json).ok()?;
    let tag = |(name, value): (String, Value)| match value {
        Value::String(value) => Some((name, value)),
        _ => None,
    };
    json.into_iter().map(tag).collect()
}

/// The number of a history entry that is not an attempt.
const NO_ATTEMPT: u32 = 0;

fn history_to_json(failure: &Failure) -> String {
    let attempt = |attempt: &PastAttempt| {
        let (effect, fault) = words(attempt.verdict);
        let status = attempt.status.map(|status| status.as_u16());
        json!([attempt.number, micros(attempt.ended), effect, fault, status])
    };
    let since = |effect, since| {
        let verdict = Verdict::transient(effect, Fault::NoResponse);
        PastAttempt::new(NO_ATTEMPT, since, verdict, None)
    };
    let since = match (failure.maybe_processed, failure.maybe_processed_since) {
        (true, None) => None,
        (true, Some(then)) => Some(since(Effect::MaybeProcessed, then)),
        (false, _) => Some(since(Effect::Refused, UNIX_EPOCH)),
    };
    let entries = since.iter().chain(&failure.history);
    entries.map(attempt).collect::<Value>().to_string()
}

fn history_of_json(json: &str) -> Option<Vec<PastAttempt>> {
    let attempt = |json: Value| {
        let status = match json.get(4)? {
            Value::Null => None,
            status => {
                let status = u16::try_from(status.as_u64()?).ok()?;
                Some(StatusCode::from_u16(status).ok()?)
            }
        };
        Some(PastAttempt::new(
            u32::try_from(json.get(0)?.as_u64()?).ok()?,
            time(json.get(1)?.as_i64()?),
            verdict(json.get(2)?.as_str()?, json.get(3)?.as_str()?)?,
            status,
        ))
    };
    array(json)?.into_iter().map(attempt).collect()
}

fn array(json: &str) -> Option<Vec<Value>> {
    serde_json::from_str(json).ok()
}

/// The words for effect and fault. A verdict without them has its own word, and an empty fault.
const fn words(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Answered => ("answered", ""),
        Verdict::Unsendable => ("unsendable", ""),
        Verdict::Transient { effect, fault } => (effect_word(effect), fault_word(fault)),
        // `Permanent`, and verdicts that are not known here yet.
        _ => ("permanent", ""),
    }
}

const fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::NeverSent => "never_sent",
        Effect::Refused => "refused",
        Effect::InProgress => "in_progress",
        // `MaybeProcessed`, and effects that are not known here yet.
        _ => "maybe_processed",
    }
}

const fn fault_word(fault: Fault) -> &'static str {
    match fault {
        Fault::Server => "server",
        Fault::Overload => "overload",
        Fault::Throttled => "throttled",
        // `NoResponse`, and faults that are not known here yet.
        _ => "no_response",
    }
}

fn verdict(effect: &str, fault: &str) -> Option<Verdict> {
    let effect = match effect {
        "answered" => return Some(Verdict::Answered),
        "permanent" => return Some(Verdict::Permanent),
        "unsendable" => return Some(Verdict::Unsendable),
        "never_sent" => Effect::NeverSent,
        "refused" => Effect::Refused,
        "in_progress" => Effect::InProgress,
        "maybe_processed" => Effect::MaybeProcessed,
        _ => return None,
    };
    let fault = match fault {
        "server" => Fault::Server,
        "overload" => Fault::Overload,
        "throttled" => Fault::Throttled,
        "no_response" => Fault::NoResponse,
        _ => return None,
    };
    Some(Verdict::transient(effect, fault))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Reason;

    fn letter() -> Letter {
        let failure = Failure::new(Reason::Attempts, UNIX_EPOCH);
        let uri = http::Uri::from_static("/");
        Letter::new(
            LetterId::new(UNIX_EPOCH).unwrap(),
            Method::POST,
            uri,
            failure,
        )
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let broken = |column: &'static str, change: fn(&mut Row)| {
            let mut row = Row::new(&letter(), UNIX_EPOCH);
            change(&mut row);
            let id = row.id;
            let read = row.into_record();
            assert_eq!(read, Err(Unreadable::new(Some(id), column)));
        };
        broken("method", |row| row.method = "GE T".to_owned());
        broken("uri", |row| row.uri = "http://".to_owned());
        broken("headers", |row| row.headers = "{}".to_owned());
        broken("headers", |row| {
            row.headers = r#"[["a b", "c"]]"#.to_owned()
        });
        broken("headers", |row| {
            row.headers = r#"[["a", [256]]]"#.to_owned()
        });
        broken("headers", |row| row.headers = r#"[["a", [10]]]"#.to_owned());
        broken("withheld", |row| {
            row.withheld = r#"{"headers": [1]}"#.to_owned()
        });
        broken("body_kind", |row| row.body_kind = "eaten".to_owned());
        broken("key_header", |row| row.key_header = Some(" ".to_owned()));
        broken("tags", |row| row.tags = r#"{"a": 1}"#.to_owned());
        broken("reason", |row| row.failure.reason = "boredom".to_owned());
        broken("history", |row| {
            row.failure.history = "[[1, 2, \"refused\"]]".to_owned()
        });
        broken("history", |row| {
            row.failure.history = r#"[[1, 2, "lost", "server", null]]"#.to_owned()
        });
        broken("last_status", |row| row.failure.last_status = Some(7));
        broken("state", |row| row.state = "lost".to_owned());
        broken("status", |row| row.state = "refused".to_owned());
        broken("lease_until", |row| row.state = "claimed".to_owned());
    }

    #[test]
    fn times_are_held_to_the_microsecond_and_within_their_bounds() {
        let micro = Duration::from_micros(1);
        assert_eq!(micros(UNIX_EPOCH + micro + Duration::from_nanos(999)), 1);
        assert_eq!(time(micros(UNIX_EPOCH + 7 * micro)), UNIX_EPOCH + 7 * micro);
        assert_eq!(micros(UNIX_EPOCH - micro), 0);
        assert_eq!(time(-1), UNIX_EPOCH);
        assert_eq!(micros(time(i64::MAX)), i64::MAX);
    }

    proptest! {
        #[test]
        fn header_fields_come_back_byte_for_byte_and_in_their_order(
            fields in prop::collection::vec(
                ("[a-c]{1,2}", prop::collection::vec(prop_oneof![Just(9_u8), 32..127_u8, 128..=255_u8], 0..9)),
                0..12,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                let name: HeaderName = name.parse().unwrap();
                headers.append(name, HeaderValue::from_bytes(value).unwrap());
            }
            let read = headers_of_json(&headers_to_json(&headers)).unwrap();
            prop_assert!(read.iter().eq(headers.iter()));
        }

        #[test]
        fn nothing_that_is_read_panics(json in "[\\[\\]{}\",a0-9: ]{0,40}") {
            let _ = (headers_of_json(&json), withheld_of_json(&json), tags_of_json(&json), history_of_json(&json));
        }
    }
}
