use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Extensions;
use tokio::time::Instant;

use crate::{
    Attempt, History, Note, NoteKind, RetryInfo, StopReason, WaitedFor, note::Notes,
    waited_for::Waits,
};

/// The record of one call: what the layers further in do for it, readable from outside while the call is
/// under way, after its end, and after it was dropped.
///
/// | who | does what |
/// |---|---|
/// | the outermost layer that needs it, such as a dead letter, or the caller | makes it: [`of_or_insert`](Self::of_or_insert), and keeps its handle |
/// | a retry | counts attempts, keeps those that failed, and writes its waits and what it decides |
/// | limits, timeouts, key layers | write a wait, a rejection, a pause, a timeout: only when that happens |
/// | the layer next to the client | counts what is really sent: [`sent`](Self::sent) |
///
/// A layer writes only what is unusual. Most layers look for the record only then. A retry, a timeout and a
/// throttle take a handle beforehand, because they no longer have the request when they write. No layer takes the
/// record out of the request, and a retry writes it into each attempt.
///
/// # Example
///
/// A caller reads what became of a call that it has given up:
///
/// ```
/// use courteous_core::{CallRecord, NoteKind, RejectReason, WaitedFor};
/// use http::Request;
///
/// let mut request = Request::new(());
/// let record = CallRecord::of_or_insert(request.extensions_mut());
///
/// // A layer further in.
/// if let Some(record) = CallRecord::of(request.extensions()) {
///     record.note(NoteKind::Rejected(RejectReason::QueueFull));
/// }
/// drop(request);
///
/// assert_eq!(record.notes()[0].kind(), NoteKind::Rejected(RejectReason::QueueFull));
/// assert!(record.waited(WaitedFor::Throttle).is_zero());
/// ```
///
/// # Sharing
///
/// Clones are the same record. One record is for one call. A layer that makes several calls out of one gives each
/// a record of its own, or their attempts and waits are added up.
///
/// # Nesting
///
/// Where a retry is around another one, the outer one counts the attempts, and adds those of the inner one when
/// it has ended. A layer within an attempt that needs the record of what *it* does, such as a dead letter
/// between two retries, gets one of its own from [`of_or_insert`](Self::of_or_insert); what is written further in
/// is in that one.
///
/// # Cost
///
/// Making it allocates twice: the record, and its entry among the extensions; the first extension of a request
/// costs two allocations more. A clone counts a reference. The first wait or note allocates, and then the first,
/// fifth and ninth note. A record has [at most 16 notes](Self::notes) and 8 failed attempts, so it is of constant
/// size however long a call lasts. What is written is written under a lock for some nanoseconds, and no foreign
/// code runs there.
#[derive(Clone, Debug, Default)]
pub struct CallRecord {
    shared: Arc<Mutex<State>>,
    /// A retry outside counts the attempts.
    within_attempt: bool,
}

#[derive(Debug, Default)]
struct State {
    followed: bool,
    attempts: u32,
    /// The attempts that have not failed: they are under way, or were answered.
    not_failed: u32,
    history: History,
    idempotent: Option<bool>,
    sends: u32,
    /// Boxed: most calls have no waits and no notes.
    unusual: Option<Box<Unusual>>,
}

#[derive(Debug, Default)]
struct Unusual {
    waits: Waits,
    notes: Notes,
}

/// For the layer that makes it.
impl CallRecord {
    /// A record with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The record of a call in the `extensions` of its request.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The record in `extensions`, or else a new one, which is put there.
    ///
    /// Within an attempt of a retry, the call of the layer that asks is that attempt. So the record is then a new
    /// one, too, and hides the one outside.
    pub fn of_or_insert(extensions: &mut Extensions) -> Self {
        match Self::of(extensions) {
            Some(record) if !record.within_attempt => record.clone(),
            _ => {
                let record = Self::new();
                extensions.insert(record.clone());
                record
            }
        }
    }
}

/// What it says.
impl CallRecord {
    /// How long the call has waited for this, in sum. A wait that goes on is included, and waits that overlap add
    /// up.
    #[must_use]
    pub fn waited(&self, waited_for: WaitedFor) -> Duration {
        let Some(waits) = self.lock().unusual.as_ref().map(|unusual| unusual.waits) else {
            return Duration::ZERO;
        };
        waits.sum(waited_for, Instant::now())
    }

    /// What layers have decided, in its order: the first 4 notes, and the last 12.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let state = self.lock();
        let unusual = state.unusual.as_ref();
        unusual.map_or_else(Vec::new, |unusual| unusual.notes.to_vec())
    }

    /// How often the request was sent, for whatever cause. Zero if no layer counts that: see [`sent`](Self::sent).
    #[must_use]
    pub fn sends(&self) -> u32 {
        self.lock().sends
    }

    /// Whether a retry counts the attempts. If none does, the call may be on its way all the same.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.lock().followed
    }

    /// How many attempts were made, those under way included. Zero if no retry counts them.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.lock().attempts
    }

    /// Those that failed.
    #[must_use]
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    /// Whether an attempt may have reached the server: one that is under way, or was answered, or failed after it was
    /// sent; or one that no retry has written down.
    #[must_use]
    pub fn is_maybe_sent(&self) -> bool {
        let state = self.lock();
        !state.followed || state.not_failed > 0 || state.history.is_maybe_sent()
    }

    /// Whether the server may have acted on an attempt: one that [may have been sent](Self::is_maybe_sent), unless the
    /// server said that it refused.
    #[must_use]
    pub fn is_maybe_processed(&self) -> bool {
        let state = self.lock();
        !state.followed || state.not_failed > 0 || state.history.is_maybe_processed()
    }

    /// What the caller has said of sending the request twice, if a retry was told.
    #[must_use]
    pub fn idempotent(&self) -> Option<bool> {
        self.lock().idempotent
    }
}

/// For layers that have something unusual to say.
impl CallRecord {
    /// As [`note`](Self::note), in the record of the call in the `extensions` of its request. Without a record,
    /// nothing is written.
    #[cold]
    pub fn note_in(extensions: &Extensions, kind: NoteKind) {
        if let Some(record) = Self::of(extensions) {
            record.note(kind);
        }
    }

    /// Writes down that a layer has decided `kind` now.
    pub fn note(&self, kind: NoteKind) {
        self.lock().unusual().notes.push(kind);
    }

    /// The call begins to wait. The layer that says so also says when the wait [has ended](Self::end_wait), even if the
    /// call is dropped meanwhile.
    pub fn begin_wait(&self, waited_for: WaitedFor) {
        let mut state = self.lock();
        state.unusual().waits.begin(waited_for, Instant::now());
    }

    /// The call waits no longer: it goes on, or was rejected, or dropped.
    pub fn end_wait(&self, waited_for: WaitedFor) {
        let mut state = self.lock();
        state.unusual().waits.end(waited_for, Instant::now());
    }

    /// Counts that the request is sent now, for whatever cause, and returns how often it was sent for this call. Called
    /// by the layer next to the client.
    #[allow(clippy::must_use_candidate, reason = "counting alone is of use")]
    pub fn sent(&self) -> u32 {
        let mut state = self.lock();
        state.sends = state.sends.saturating_add(1);
        state.sends
    }
}

/// For retries.
///
/// A retry counts attempts, unless another one around it does: then the first five of these do nothing.
impl CallRecord {
    /// An attempt is handed to the inner service.
    pub fn begin_attempt(&self) {
        self.count(|state| {
            state.followed = true;
            state.attempts = state.attempts.saturating_add(1);
            state.not_failed = state.not_failed.saturating_add(1);
        });
    }

    /// The attempt that was under way has failed.
    pub fn fail_attempt(&self, attempt: Attempt) {
        self.count(|state| {
            state.not_failed = state.not_failed.saturating_sub(1);
            state.history.push(attempt);
        });
    }

    /// The attempt that was under way was made by a retry further in, which did what `inner` says, after `before`
    /// attempts. Those of the inner retry count in its place.
    ///
    /// If the server has answered the inner retry, the last of them counts as under way until it
    /// [fails](Self::fail_attempt).
    pub fn add_attempts(&self, inner: &RetryInfo, before: u32) {
        self.count(|state| {
            let others = state.attempts.saturating_sub(1);
            state.attempts = others.saturating_add(inner.attempts());
            if inner.stop_reason() != StopReason::Answered {
                state.not_failed = state.not_failed.saturating_sub(1);
            }
            state.history.append(inner.history(), before);
        });
    }

    /// A layer further in has rejected the attempt that was under way: it was none.
    pub fn reject_attempt(&self) {
        self.count(|state| {
            state.not_failed = state.not_failed.saturating_sub(1);
            state.attempts = state.attempts.saturating_sub(1);
        });
    }

    /// The caller has said whether the request may be sent twice, whatever its method and its key say.
    pub fn say_idempotent(&self, is_idempotent: bool) {
        self.count(|state| state.idempotent = Some(is_idempotent));
    }

    /// The same record, for the request of an attempt: a retry within it does not count attempts.
    #[must_use]
    pub fn within_attempt(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            within_attempt: true,
        }
    }

    fn count(&self, change: impl FnOnce(&mut State)) {
        if !self.within_attempt {
            change(&mut self.lock());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unusual(&mut self) -> &mut Unusual {
        self.unusual.get_or_insert_default()
    }
}

/// The same record.
impl PartialEq for CallRecord {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for CallRecord {}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tokio::time::advance;

    use super::*;
    use crate::{Effect, Fault, RejectReason, Verdict};

    const SECOND: Duration = Duration::from_secs(1);
    const NEVER_SENT: Verdict = Verdict::transient(Effect::NeverSent, Fault::NoResponse);
    const REFUSED: Verdict = Verdict::transient(Effect::Refused, Fault::Throttled);

    fn attempt(number: u32, verdict: Verdict) -> Attempt {
        Attempt::new(number, Instant::now(), verdict, None)
    }

    #[test]
    fn an_attempt_that_is_under_way_may_have_been_sent() {
        let record = CallRecord::new();
        assert!(!record.is_followed() && record.is_maybe_sent());
        record.begin_attempt();
        record.reject_attempt();
        assert_eq!((record.attempts(), record.is_maybe_sent()), (0, false));
        record.begin_attempt();
        assert!(record.is_maybe_sent());
        record.fail_attempt(attempt(1, NEVER_SENT));
        assert!(!record.is_maybe_sent());
        record.begin_attempt();
        record.reject_attempt();
        assert_eq!((record.attempts(), record.is_maybe_sent()), (1, false));
        record.begin_attempt();
        assert_eq!((record.attempts(), record.is_maybe_sent()), (2, true));
        assert_eq!(record.history().attempts().len(), 1);
        assert!(record.is_maybe_processed());
        record.fail_attempt(attempt(2, REFUSED));
        assert!(record.is_maybe_sent() && !record.is_maybe_processed());
    }

    #[test]
    fn attempts_that_are_under_way_together_are_counted_apart() {
        let record = CallRecord::new();
        record.begin_attempt();
        record.begin_attempt();
        record.fail_attempt(attempt(1, NEVER_SENT));
        assert_eq!((record.attempts(), record.is_maybe_sent()), (2, true));
        record.fail_attempt(attempt(2, NEVER_SENT));
        assert!(!record.is_maybe_sent());
    }

    #[test]
    fn an_attempt_that_was_answered_was_sent_whatever_follows() {
        let record = CallRecord::new();
        // Two retries, one after the other: the first was answered.
        record.begin_attempt();
        record.begin_attempt();
        record.fail_attempt(attempt(1, NEVER_SENT));
        assert!(record.is_maybe_sent() && record.is_maybe_processed());
    }

    #[test]
    fn the_attempts_of_an_inner_retry_stand_for_the_one_that_made_them() {
        let mut history = History::new();
        history.push(attempt(1, NEVER_SENT));
        history.push(attempt(2, NEVER_SENT));
        let inner =
            |attempts, reason| RetryInfo::new(attempts, SECOND, reason, None, history.clone());
        let record = CallRecord::new();
        record.begin_attempt();
        record.fail_attempt(attempt(1, NEVER_SENT));
        record.begin_attempt();
        record.add_attempts(&inner(2, StopReason::AttemptsExhausted), 1);
        assert_eq!((record.attempts(), record.is_maybe_sent()), (3, false));
        let history_of = record.history();
        let numbers: Vec<_> = history_of.attempts().iter().map(Attempt::number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        record.begin_attempt();
        record.add_attempts(&inner(3, StopReason::Answered), 3);
        assert_eq!((record.attempts(), record.is_maybe_sent()), (6, true));
        record.begin_attempt();
        record.add_attempts(&inner(0, StopReason::Rejected), 6);
        assert_eq!(record.attempts(), 6);
    }

    #[test]
    fn within_an_attempt_nothing_is_counted_and_everything_else_is_written() {
        let record = CallRecord::new();
        record.begin_attempt();
        let within = record.within_attempt();
        assert_eq!(within, record);
        within.begin_attempt();
        within.fail_attempt(attempt(1, REFUSED));
        within.reject_attempt();
        within.say_idempotent(true);
        assert_eq!((within.attempts(), within.idempotent()), (1, None));
        assert!(within.history().attempts().is_empty());
        within.note(NoteKind::Rejected(RejectReason::QueueFull));
        assert_eq!(within.sent(), 1);
        assert_eq!((record.notes().len(), record.sends()), (1, 1));
    }

    #[test]
    fn one_that_is_there_is_shared_and_within_an_attempt_it_is_hidden() {
        let mut extensions = Extensions::new();
        assert!(CallRecord::of(&extensions).is_none());
        let record = CallRecord::of_or_insert(&mut extensions);
        assert_eq!(CallRecord::of_or_insert(&mut extensions), record);
        assert_eq!(CallRecord::of(&extensions), Some(&record));
        assert_ne!(CallRecord::new(), record);

        extensions.insert(record.within_attempt());
        let own = CallRecord::of_or_insert(&mut extensions);
        assert_ne!(own, record);
        own.begin_attempt();
        assert_eq!((own.attempts(), record.attempts()), (1, 0));
        assert_eq!(CallRecord::of_or_insert(&mut extensions), own);
    }

    #[test]
    fn sends_are_numbered_from_one() {
        let record = CallRecord::new();
        assert_eq!(record.sends(), 0);
        let numbers = [record.sent(), record.clone().sent(), record.sent()];
        assert_eq!((numbers, record.sends()), ([1, 2, 3], 3));
    }

    #[tokio::test(start_paused = true)]
    async fn notes_and_waits_are_read_after_the_drop_of_all_that_wrote_them() {
        let began = Instant::now();
        let mut extensions = Extensions::new();
        let record = CallRecord::of_or_insert(&mut extensions);
        let writer = CallRecord::of(&extensions).unwrap().clone();
        writer.begin_wait(WaitedFor::Concurrency);
        advance(SECOND).await;
        // It goes on.
        assert_eq!(record.waited(WaitedFor::Concurrency), SECOND);
        writer.end_wait(WaitedFor::Concurrency);
        writer.note(NoteKind::Stopped(StopReason::Deadline));
        advance(SECOND).await;
        writer.note(NoteKind::paused(began + 9 * SECOND));
        drop((writer, extensions));
        assert_eq!(record.waited(WaitedFor::Concurrency), SECOND);
        assert_eq!(record.waited(WaitedFor::Throttle), Duration::ZERO);
        let notes = record.notes();
        let told: Vec<_> = notes
            .iter()
            .map(|it| (it.at() - began, it.kind()))
            .collect();
        let stopped = NoteKind::Stopped(StopReason::Deadline);
        let paused = NoteKind::paused(began + 9 * SECOND);
        assert_eq!(told, [(SECOND, stopped), (2 * SECOND, paused)]);
    }

    #[test]
    fn it_does_not_grow_over_a_long_life() {
        let record = CallRecord::new();
        for number in 1..=10_000 {
            record.begin_attempt();
            record.fail_attempt(attempt(number, REFUSED));
            record.begin_wait(WaitedFor::Backoff);
            record.note(NoteKind::retry(SECOND, Fault::Throttled));
            record.end_wait(WaitedFor::Backoff);
        }
        assert_eq!(record.attempts(), 10_000);
        assert_eq!(record.history().attempts().len(), History::MAX);
        assert_eq!(record.notes().len(), 16);
    }

    #[test]
    fn a_lock_that_a_panic_has_poisoned_is_taken_all_the_same() {
        let record = CallRecord::new();
        record.begin_attempt();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _state = record.lock();
            panic!("while it holds the lock");
        }));
        assert!(panicked.is_err());
        assert!(record.shared.is_poisoned());
        record.begin_attempt();
        assert_eq!(record.attempts(), 2);
    }
}
