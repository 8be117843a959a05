mod id;
mod payload;
mod reason;
mod tags;
mod unknown_word;
mod verdict;
mod withheld;

use std::time::{Duration, SystemTime};

use courteous_core::{Attempt, KeyField, Origin, Verdict, is_conditional_write, is_idempotent};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri};

pub(crate) use self::verdict::Failed;
pub use self::{
    id::{InvalidId, LetterId},
    payload::Payload,
    reason::Reason,
    tags::{Tags, TagsIter, without_nul},
    unknown_word::UnknownWord,
    withheld::Withheld,
};
use crate::Clock;

/// A call that has finally failed: everything that is needed to understand it and to send it again.
///
/// It holds no secrets: see [`Withheld`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Letter {
    /// The id of the record that the letter becomes.
    pub id: LetterId,
    /// The request's method.
    pub method: Method,
    /// The request's target, without secrets.
    pub uri: Uri,
    /// The request's header fields, without secrets; the idempotency key is among them.
    pub headers: HeaderMap,
    /// What was left out.
    pub withheld: Withheld,
    /// The request's body.
    pub payload: Payload,
    /// The header field that holds the idempotency key. `None` if the request had no key.
    pub key_header: Option<HeaderName>,
    /// Whether the caller allows the call to be sent twice, whatever its method and its key say.
    /// The caller says so by [`Idempotent`](courteous_core::Idempotent), or by the settings of a
    /// retry inside. `None` if the caller has said nothing.
    pub idempotent: Option<bool>,
    /// When the call began. Its first attempt was made at this time or later.
    pub first_at: SystemTime,
    /// The caller's tags.
    pub tags: Tags,
    /// How the call failed. A redrive that also fails overwrites this.
    pub failure: Failure,
}

/// How a call has failed, including its redrives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// Why the call was given up, at the last time.
    pub reason: Reason,
    /// How many attempts were made in all, if a retry counted them; else 1.
    pub attempts: u32,
    /// The failed attempts: the first, and the last seven.
    pub history: Vec<PastAttempt>,
    /// Whether an attempt may have reached the server.
    pub maybe_sent: bool,
    /// Whether the server may have acted on an attempt: an attempt that was sent, and that the
    /// server did not refuse. The key's age counts from that attempt.
    pub maybe_processed: bool,
    /// Since when the request may have been processed, if that is so because of a redrive. `None`:
    /// since [`Letter::first_at`].
    pub maybe_processed_since: Option<SystemTime>,
    /// The status of the last response.
    pub last_status: Option<StatusCode>,
    /// The last error, with its causes and without secrets; `None` if the last attempt had a response.
    pub last_error: Option<String>,
    /// When the call was given up, at the last time.
    pub last_at: SystemTime,
    /// When the call may be sent again at the earliest, if the server or a limit has said so.
    pub not_before: Option<SystemTime>,
}

/// One attempt that failed, in brief.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PastAttempt {
    /// The attempt's number, from 1, counted through all redrives.
    pub number: u32,
    /// When the attempt was known to have failed.
    pub ended: SystemTime,
    /// What the failure meant for a further attempt.
    pub verdict: Verdict,
    /// The status of the response, if there was one.
    pub status: Option<StatusCode>,
}

impl Letter {
    /// A request without header fields, a body or a key, which has failed by `failure`. Set the
    /// other fields as needed.
    #[must_use]
    pub fn new(id: LetterId, method: Method, uri: Uri, failure: Failure) -> Self {
        Self {
            id,
            method,
            uri,
            headers: HeaderMap::new(),
            withheld: Withheld::new(),
            payload: Payload::Whole(bytes::Bytes::new()),
            key_header: None,
            idempotent: None,
            first_at: failure.last_at,
            tags: Tags::new(),
            failure,
        }
    }

    /// The server that the request was for.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::of(&self.uri, &self.headers)
    }

    /// The idempotency key. `None` if the field holds no valid key: see [`KeyField`].
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        KeyField::of(&self.headers, self.key_header.as_ref()?).key()
    }

    /// Whether sending the request again is safe: by its key, by its method (RFC 9110, section
    /// 9.2.2), or because it was never sent. A write under a [precondition](is_conditional_write)
    /// is not repeatable by its method, as it could meet its own effect. For a call that may have
    /// been sent, the caller's [word](Self::idempotent) overrides both.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        let by_itself = || self.is_idempotent() || self.key().is_some();
        !self.failure.maybe_sent || self.idempotent.unwrap_or_else(by_itself)
    }

    /// The time from which the key's age counts. `None` if sending the request again is safe
    /// without the key, or because the server has not acted on the request.
    pub(crate) fn key_since(&self) -> Option<SystemTime> {
        let failure = &self.failure;
        let by_key = self.idempotent.is_none() && !self.is_idempotent();
        let needs_key = by_key && failure.maybe_sent && failure.maybe_processed;
        let since = failure.maybe_processed_since.unwrap_or(self.first_at);
        (needs_key && self.key().is_some()).then_some(since)
    }

    /// Whether the key will be older than `lifetime` when the letter may be sent at the earliest.
    pub(crate) fn outlives_key(&self, lifetime: Duration) -> bool {
        let (Some(since), Some(then)) = (self.key_since(), self.failure.not_before) else {
            return false;
        };
        then.duration_since(since).unwrap_or_default() >= lifetime
    }

    fn is_idempotent(&self) -> bool {
        is_idempotent(&self.method) && !is_conditional_write(&self.method, &self.headers)
    }
}

impl Failure {
    /// A call that was given up for `reason` at `now`, after one attempt that may have been
    /// processed. Set the other fields as needed.
    #[must_use]
    pub const fn new(reason: Reason, now: SystemTime) -> Self {
        Self {
            reason,
            attempts: 1,
            history: Vec::new(),
            maybe_sent: true,
            maybe_processed: true,
            maybe_processed_since: None,
            last_status: None,
            last_error: None,
            last_at: now,
            not_before: None,
        }
    }

    /// This failure followed by `later`, the failure of a redrive. Attempts and history are those
    /// of both. All other fields are those of `later`.
    #[must_use]
    pub fn and_then(mut self, later: Self) -> Self {
        let before = self.attempts;
        for mut attempt in later.history {
            attempt.number = attempt.number.saturating_add(before);
            push(&mut self.history, attempt);
        }
        Self {
            attempts: before.saturating_add(later.attempts),
            history: self.history,
            maybe_sent: self.maybe_sent || later.maybe_sent,
            maybe_processed: self.maybe_processed || later.maybe_processed,
            maybe_processed_since: match self.maybe_processed {
                true => self.maybe_processed_since,
                false => later.maybe_processed_since,
            },
            last_status: later.last_status.or(self.last_status),
            ..Self {
                history: Vec::new(),
                ..later
            }
        }
    }
}

impl PastAttempt {
    /// Attempt `number`, counted from 1, which failed at `ended`, with the `status` of its
    /// response, if it had one.
    #[must_use]
    pub const fn new(
        number: u32,
        ended: SystemTime,
        verdict: Verdict,
        status: Option<StatusCode>,
    ) -> Self {
        Self {
            number,
            ended,
            verdict,
            status,
        }
    }

    pub(crate) fn of(attempt: &Attempt, clock: &Clock) -> Self {
        Self {
            number: attempt.number(),
            ended: clock.at(attempt.ended()),
            verdict: attempt.verdict(),
            status: attempt.status(),
        }
    }
}

/// Adds an attempt to the history. When a ninth attempt is added, the second oldest is removed.
fn push(history: &mut Vec<PastAttempt>, attempt: PastAttempt) {
    if history.len() >= courteous_core::History::MAX {
        history.remove(1);
    }
    history.push(attempt);
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use courteous_core::{Effect, Fault};
    use http::HeaderValue;

    use super::*;

    fn failure(attempts: u32, maybe_sent: bool) -> Failure {
        let effect = match maybe_sent {
            true => Effect::MaybeProcessed,
            false => Effect::NeverSent,
        };
        let verdict = Verdict::transient(effect, Fault::NoResponse);
        let past = |number| PastAttempt::new(number, UNIX_EPOCH, verdict, None);
        Failure {
            attempts,
            history: (1..=attempts).map(past).collect(),
            maybe_sent,
            ..Failure::new(Reason::Attempts, UNIX_EPOCH)
        }
    }

    #[test]
    fn a_redrives_attempts_are_added_to_those_before() {
        let mut whole = failure(3, true);
        for _ in 0..3 {
            whole = whole.and_then(failure(3, false));
        }
        let numbers: Vec<_> = whole.history.iter().map(|past| past.number).collect();
        assert_eq!(numbers, [1, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!((whole.attempts, whole.maybe_sent), (12, true));
    }

    #[test]
    fn the_last_word_is_the_redrives() {
        let mut first = failure(1, false);
        first.last_status = Some(StatusCode::BAD_GATEWAY);
        first.last_error = Some("reset".to_owned());
        let mut then = failure(1, false);
        then.reason = Reason::Deadline;
        then.last_error = Some("too late".to_owned());
        let whole = first.clone().and_then(then);
        assert_eq!(whole.reason, Reason::Deadline);
        assert_eq!(whole.last_status, Some(StatusCode::BAD_GATEWAY));
        assert_eq!(whole.last_error.as_deref(), Some("too late"));
        assert!(!whole.maybe_sent && first.and_then(failure(1, true)).maybe_sent);
    }

    #[test]
    fn a_key_ages_since_the_first_call_that_may_have_been_processed() {
        let hour = Duration::from_secs(3600);
        let at = |hours: u32| UNIX_EPOCH + hours * hour;
        let name = HeaderName::from_static("idempotency-key");
        let mut letter = Letter::new(
            LetterId::floor(UNIX_EPOCH),
            Method::POST,
            Uri::from_static("/"),
            Failure::new(Reason::WaitTooLong, UNIX_EPOCH),
        );
        assert_eq!(letter.key_since(), None, "it has none");
        letter.headers.insert(&name, HeaderValue::from_static("k"));
        letter.key_header = Some(name);
        assert_eq!(letter.key_since(), Some(UNIX_EPOCH));
        letter.failure.not_before = Some(at(23));
        assert!(letter.outlives_key(23 * hour) && !letter.outlives_key(24 * hour));

        letter.failure.maybe_processed = false;
        assert_eq!(letter.key_since(), None);
        let mut redrive = Failure::new(Reason::Attempts, at(30));
        redrive.maybe_processed_since = Some(at(29));
        for _ in 0..2 {
            letter.failure = letter.failure.and_then(redrive.clone());
            redrive.maybe_processed_since = Some(at(40));
        }
        assert_eq!(letter.key_since(), Some(at(29)));
        letter.method = Method::PUT;
        assert_eq!(letter.key_since(), None, "its method is enough");
    }

    #[test]
    fn a_letter_is_repeatable_by_its_method_its_key_or_as_it_was_never_sent() {
        let letter = |method, maybe_sent| {
            let id = LetterId::new(UNIX_EPOCH).unwrap();
            Letter::new(id, method, Uri::from_static("/"), failure(1, maybe_sent))
        };
        assert!(letter(Method::PUT, true).is_repeatable());
        for name in ["if-match", "if-none-match", "if-unmodified-since", "if"] {
            let conditional = |method, maybe_sent| {
                let mut letter = letter(method, maybe_sent);
                let condition = HeaderValue::from_static("*");
                letter.headers.insert(name, condition);
                letter.is_repeatable()
            };
            assert!(!conditional(Method::PUT, true) && !conditional(Method::DELETE, true));
            assert!(conditional(Method::PUT, false) && conditional(Method::GET, true));
        }
        assert!(letter(Method::POST, false).is_repeatable());
        let mut post = letter(Method::POST, true);
        assert!(!post.is_repeatable());
        let name = HeaderName::from_static("idempotency-key");
        post.key_header = Some(name.clone());
        assert!(
            !post.is_repeatable(),
            "a field that is not there holds no key"
        );
        for no_key in ["", " ", "\"\"", "a b"] {
            post.headers.insert(&name, HeaderValue::from_static(no_key));
            assert!(post.key().is_none() && !post.is_repeatable(), "{no_key:?}");
        }
        post.headers.insert(&name, HeaderValue::from_static(" k "));
        assert!(post.is_repeatable());
        assert_eq!(post.key(), Some("k"));
        post.headers.append(&name, HeaderValue::from_static("k"));
        assert!(!post.is_repeatable(), "two fields are no key");
    }

    #[test]
    fn the_callers_word_says_more_than_method_and_key() {
        let id = LetterId::new(UNIX_EPOCH).unwrap();
        let letter = |method, maybe_sent, said| {
            let failure = failure(1, maybe_sent);
            let mut letter = Letter::new(id, method, Uri::from_static("/"), failure);
            letter.idempotent = said;
            letter
        };
        assert!(letter(Method::POST, true, Some(true)).is_repeatable());
        assert!(!letter(Method::PUT, true, Some(false)).is_repeatable());
        assert!(letter(Method::PUT, false, Some(false)).is_repeatable());
        let name = HeaderName::from_static("idempotency-key");
        for (said, is_repeatable, since) in [
            (None, true, Some(UNIX_EPOCH)),
            (Some(true), true, None),
            (Some(false), false, None),
        ] {
            let mut keyed = letter(Method::POST, true, said);
            keyed.headers.insert(&name, HeaderValue::from_static("k"));
            keyed.key_header = Some(name.clone());
            assert_eq!(keyed.is_repeatable(), is_repeatable, "{said:?}");
            assert_eq!(keyed.key_since(), since, "no key that ages: {said:?}");
        }
    }
}
