//! One call of a retry, between its attempts.
//!
//! ```text
//!  request                              response or error, with a `RetryInfo`
//!     | begin                              ^
//!     v                  judge             | finish
//!  attempt under way -----------------> judged
//!     ^                                    | plan: a further attempt, paid for
//!     | start                              v
//!   ready <---- waiting <---- draining the body of the response, if it has one
//! ```
//!
//! [`ResponseFuture`](crate::ResponseFuture) polls and holds the state that is drawn here; [`Call`]
//! holds what is known, and decides. Each part of it has a file:
//!
//! | file | what it does |
//! |---|---|
//! | `start` | makes the request of each attempt: of the caller's, then of the snapshot |
//! | `judge` | reads the outcome of an attempt and chooses: return it, or make another attempt |
//! | `plan` | decides whether another attempt is allowed, and pays for it |
//! | `schedule` | sets the instant of the next attempt, and waits for it |
//! | `record` | counts attempts and writes them into the history and the call's record |
//! | `finish` | ends the call: builds the `RetryInfo` and the error |
//! | `observed` | does the same for a layer that only observes, and changes nothing |
//!
//! # Invariant
//!
//! - `later` is `None` until an attempt has failed, was rejected by a layer further in, or was
//!   retried there. So a call that is answered at once allocates nothing for it.
//! - `next` is `Some` exactly from the decision to make another attempt until it starts. A response
//!   is let go only after `next` is set: its body can be sent, and the budget has allowed it.
//! - A retry's price is in exactly one place. It is a `Payment` in `next` during the wait (a drop
//!   gives it back), and a `Receipt` during the attempt (a drop spends it). If a limit rejects the
//!   attempt, the receipt becomes a payment again.
//! - `progress.attempts` includes the attempt under way, and no attempt that was rejected before it
//!   was sent.
//!
//! # Example
//!
//! A `PUT` with the default settings, but without jitter:
//!
//! | at | what happens | attempts | waits in sum |
//! |---|---|---|---|
//! | 0 ms | attempt 1 starts | 1 | 0 ms |
//! | 20 ms | 502, no hint: backoff 100 ms, `next` at 120 ms, paid | 1 | 100 ms |
//! | 20 ms | the body is drained until 70 ms at the latest | 1 | 100 ms |
//! | 120 ms | the service is ready, and attempt 2 starts | 2 | 100 ms |
//! | 140 ms | 429, `Retry-After: 3`, backoff 2 s: `next` at 3140 ms, paid | 2 | 3100 ms |
//! | 3140 ms | attempt 3 starts | 3 | 3100 ms |
//! | 3160 ms | 200: returned with a `RetryInfo` that says so | 3 | 3100 ms |

mod finish;
mod judge;
mod observed;
mod plan;
mod record;
mod schedule;
mod start;

use std::{pin::Pin, sync::Arc};

use courteous_body::Keep;
use courteous_budget::{Payment, Receipt};
use courteous_core::{
    BoxError, CallContext, CallKeys, CallRecord, ClaimedKey, History, ObserveOnly, RequestLine,
};
use http::{HeaderMap, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use self::record::Backoff;
use crate::{
    policy::{Allowance, Progress, RequestFacts},
    settings::Settings,
    snapshot::Snapshot,
};

/// What is known about one call.
pub(crate) struct Call<S, K: Keep<B>, B> {
    pub(crate) service: S,
    settings: Arc<Settings>,
    keep: K,
    /// Method and URI: for further attempts, the classifier and events.
    line: RequestLine,
    /// The rest of the request as it came, from which further attempts are made. `None` if only one
    /// attempt is allowed.
    snapshot: Option<Snapshot<K::Kept>>,
    facts: RequestFacts,
    max_attempts: Allowance,
    context: CallContext,
    /// This call's claim on its idempotency key, if a key layer outside has set one.
    key: Option<ClaimedKey>,
    /// Lets a key layer further in derive one key for all attempts. `Some` if the request has no
    /// key and its method is not idempotent.
    keys: Option<CallKeys>,
    told: Told,
    /// Boxed: nearly all calls end with their first attempt, and each byte of a call is moved
    /// several times.
    later: Option<Pin<Box<Later<B>>>>,
}

pin_project! {
    /// What a call needs only once an attempt has failed or was rejected.
    struct Later<B> {
        so_far: SoFar<B>,
        // One timer for all waits of the call, made when the first wait begins.
        #[pin]
        timer: Option<Sleep>,
    }
}

/// What is told of the call, besides its caller. One field for both, as each byte of a call is moved
/// several times.
enum Told {
    Nobody,
    /// The call's record, in which a layer outside reads how the call goes.
    Record(CallRecord),
    /// The layer only observes, until the first outcome.
    Observer(ObserveOnly),
}

/// The call so far.
struct SoFar<B> {
    progress: Progress,
    history: History,
    /// Status and headers of the last response that was let go.
    last: Option<(StatusCode, HeaderMap)>,
    /// What the attempt under way has paid.
    receipt: Option<Receipt>,
    next: Option<Next<B>>,
}

/// The next attempt, during the wait for it.
struct Next<B> {
    body: B,
    until: Instant,
    /// What it has paid. `None` if it replaces the first attempt, which a limit has rejected.
    payment: Option<Payment>,
    /// The wait in the call's record, until it has ended.
    backoff: Option<Backoff>,
}

/// What the future does after an attempt.
pub(crate) enum Step<RB> {
    Return(Result<Response<RB>, BoxError>),
    /// Wait for the next attempt.
    Wait,
    /// First drain this response body, until this instant at the latest; then wait for the next
    /// attempt.
    Drain(RB, Instant),
}

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// A call of `request` that has not [begun](Self::begin).
    #[inline(always)]
    pub(crate) fn new(service: S, settings: Arc<Settings>, keep: K, request: &Request<B>) -> Self {
        Self {
            service,
            settings,
            keep,
            line: RequestLine::of(request),
            snapshot: None,
            facts: RequestFacts::default(),
            max_attempts: Allowance::Disabled,
            context: CallContext::default(),
            key: None,
            keys: None,
            told: Told::Nobody,
            later: None,
        }
    }

    /// The deadline of the call.
    const fn deadline(&self) -> Option<Instant> {
        self.context.deadline()
    }

    /// The call's record, if a layer outside has made one.
    const fn record(&self) -> Option<&CallRecord> {
        match &self.told {
            Told::Record(record) => Some(record),
            _ => None,
        }
    }

    fn so_far(&mut self) -> &mut SoFar<B> {
        self.later().project().so_far
    }

    fn later(&mut self) -> Pin<&mut Later<B>> {
        let later = self.later.get_or_insert_with(|| {
            Box::pin(Later {
                so_far: SoFar {
                    progress: Progress::new(self.max_attempts),
                    history: History::new(),
                    last: None,
                    receipt: None,
                    next: None,
                },
                timer: None,
            })
        });
        later.as_mut()
    }
}
