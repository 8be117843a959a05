mod attempt;
mod events;
mod plan;
mod redriving;
mod run;
mod secrets;
mod summary;

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use courteous_classify::HttpClassifier;
use courteous_core::{BoxError, Classify};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

pub use self::{
    redriving::Redriving,
    secrets::{SecretSource, Secrets},
    summary::{NotSent, Progress, RedriveOutcome, Summary},
};
use crate::{Clock, Filter, LetterId, LetterStore, StoreError};

/// Sends dead letters again, through a stack of the application's own: with the same key and the same bytes.
///
/// The command `courteous-dlq replay` runs one from a shell.
///
/// | setting | default | why |
/// |---|---|---|
/// | at a time | 8 | the stack's limits decide; this bounds what a crash leaves claimed |
/// | total timeout of a call | 30 s | that of the standard stack: to be set to the stack's own |
/// | lifetime of a key | 23 h | most providers keep keys for 24 h |
/// | redrives of a record | 10 | what ten do not deliver needs somebody to look at it |
/// | failures in a row | 20 | the server is still down: the rest is left for later |
///
/// # What is sent
///
/// All that is pending and whose `not_before` has come, oldest first, each once in a run, but:
///
/// - a record that is safe by its key alone, and that may first have been processed longer ago than the lifetime of keys, less
///   the total timeout, is marked as expired: the server may have forgotten the key, and would process the request again. One that
///   was never sent, or only ever refused, is sent however late;
/// - a record that may have been processed, has neither a key nor an idempotent method, and was not
///   [called idempotent](crate::Letter::idempotent) by its caller, is left alone, unless it is [named](Self::with_id) and
///   [that is wanted](Self::with_may_run_twice). One that its caller called not idempotent is, too;
/// - a record whose body was not kept whole, or for whose withheld secrets there are no fresh ones, is left alone;
/// - a record that cannot be read is left alone, and told when the others were tried.
///
/// # What becomes of it
///
/// A success (2xx) is delivered. Another answer that would come again, such as a 404, is refused, and kept with its status.
/// Anything else leaves it pending, with the attempts and their history added to what was there. So do 401, 403 and 407: they are
/// final only for the credentials that it was sent with, and many in a row end the run, as those of a server that is down do; and
/// a 409 for a record with a key that may have been processed: an earlier copy under that key may still be in progress. A gRPC
/// failure in the head of a response, which is a 200, counts as the HTTP status that `google.rpc.Code` names for it; CANCELLED, which
/// has none that is registered, as 500.
///
/// Each request has [`Redriving`](crate::Redriving) in its extensions, so that a dead-letter layer in the stack does not
/// record it again.
///
/// It is not in order with the calls that were made since: a `PUT` that is sent again may undo a later one.
///
/// # At least once
///
/// A record is claimed before it is sent, for the total timeout and 30 s, and settled after the answer. A redrive that is killed
/// leaves its claims to run out, and a later one goes on. Killed between the answer and the settlement, it leads to a duplicate
/// *with the same key*, which the server recognises. Two redrives at once share the work: a fencing number sees to it that
/// only the newest claim settles.
///
/// # Cancel safety
///
/// Dropping the future of [`run`](Self::run) is like killing it: what is under way stays claimed until its lease ends.
///
/// # Example
///
/// ```
/// use courteous_dead_letter::{MemoryStore, Redrive, Secrets};
/// use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
/// use http_body_util::Full;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), courteous_dead_letter::StoreError> {
/// # let store = MemoryStore::new();
/// # let stack = tower::service_fn(async |_: Request<Full<bytes::Bytes>>| {
/// #     Ok::<_, std::io::Error>(Response::new(Full::new(bytes::Bytes::new())))
/// # });
/// let summary = Redrive::new()
///     // By scheme, host and port: a letter's target may be the choice of an outsider.
///     .with_secrets(|letter: &courteous_dead_letter::Letter| {
///         let authority = letter.uri.authority().map(|authority| authority.as_str());
///         match (letter.uri.scheme_str(), authority) {
///             (Some("https"), Some("api.example.com")) => {
///                 Ok(Secrets::new().with_header(AUTHORIZATION, HeaderValue::from_static("Bearer ...")))
///             }
///             _ => Ok(Secrets::new()),
///         }
///     })
///     .with_on_progress(|progress| eprintln!("{}: {:?}", progress.id(), progress.outcome()))
///     .run(&store, stack)
///     .await?;
/// assert!(summary.is_success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Redrive {
    concurrency: NonZeroUsize,
    total_timeout: Duration,
    key_lifetime: Duration,
    max_redrives: u32,
    max_failures_in_row: Option<NonZeroU32>,
    filter: Filter,
    id: Option<LetterId>,
    may_run_twice: bool,
    dry_run: bool,
    secrets: Option<Arc<dyn SecretSource + Send + Sync>>,
    classifier: Arc<dyn Classify + Send + Sync>,
    clock: Clock,
    on_progress: Option<Arc<OnProgress>>,
}

type OnProgress = dyn Fn(&Progress<'_>) + Send + Sync;

/// How long servers remember a key, at least: most providers keep keys for 24 h.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_secs(23 * 60 * 60);
/// The total timeout of a call, with which it must end within the lifetime of its key.
pub(crate) const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a claim outlasts the call.
const MARGIN: Duration = Duration::from_secs(30);

/// Sends the pending letters of `store` again, by the defaults of [`Redrive`].
///
/// # Errors
///
/// The store's. What was sent by then is settled, as far as it lets.
pub async fn redrive<St, S, B, RB>(store: &St, service: S) -> Result<Summary, StoreError>
where
    St: LetterStore + ?Sized,
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    B: From<Bytes>,
    RB: Body,
{
    Redrive::new().run(store, service).await
}

impl Redrive {
    /// A redrive of all that is pending, with the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            concurrency: const { NonZeroUsize::MIN.saturating_add(7) },
            total_timeout: TOTAL_TIMEOUT,
            key_lifetime: KEY_LIFETIME,
            max_redrives: 10,
            max_failures_in_row: Some(const { NonZeroU32::MIN.saturating_add(19) }),
            filter: Filter::new(),
            id: None,
            may_run_twice: false,
            dry_run: false,
            secrets: None,
            classifier: Arc::new(HttpClassifier::new()),
            clock: Clock::system(),
            on_progress: None,
        }
    }

    /// How many records are sent at a time. Default: 8.
    #[must_use]
    pub const fn with_concurrency(mut self, records: NonZeroUsize) -> Self {
        self.concurrency = records;
        self
    }

    /// How long one call may take, with all its attempts: what the stack's own total timeout is. Default: 30 s.
    ///
    /// It is the call's deadline, counted from the claim, and the claim lasts 30 s longer. A stack that goes on beyond it is cut
    /// off. What could not be sent by then is not sent, so zero sends nothing.
    #[must_use]
    pub const fn with_total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// How long the server remembers an idempotency key. Default: 23 h.
    ///
    /// It is counted from the first call that may have been processed: a call that was never sent, or only ever refused, has no
    /// key that ages, nor has one whose method is idempotent. A record whose key is older is marked as expired, and not sent;
    /// one whose server asks for a longer pause expires at once, by [`Reason::KeyRunsOut`](crate::Reason::KeyRunsOut).
    /// `Duration::MAX` sends it at any age.
    #[must_use]
    pub const fn with_key_lifetime(mut self, lifetime: Duration) -> Self {
        self.key_lifetime = lifetime;
        self
    }

    /// How often a record is sent again before it expires. Default: 10. Zero lets all of them expire.
    #[must_use]
    pub const fn with_max_redrives(mut self, redrives: u32) -> Self {
        self.max_redrives = redrives;
        self
    }

    /// Ends the run when so many records in a row have failed, or were refused by a limit. Default: 20; `None` tries all of them.
    ///
    /// A server that is still down would use up a redrive of each record otherwise.
    #[must_use]
    pub const fn with_max_failures_in_row(mut self, failures: Option<NonZeroU32>) -> Self {
        self.max_failures_in_row = failures;
        self
    }

    /// Only the records that `filter` lets through. Its state is not looked at.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Only the record of this id, if it is pending and its `not_before` has come.
    #[must_use]
    pub const fn with_id(mut self, id: LetterId) -> Self {
        self.id = Some(id);
        self
    }

    /// Whether a record is sent again that may have been processed, and that nothing keeps from being processed twice. Default:
    /// no. Only for a record that is [named](Self::with_id): it is to be decided for each by itself.
    #[must_use]
    pub const fn with_may_run_twice(mut self, may: bool) -> Self {
        self.may_run_twice = may;
        self
    }

    /// Claims and sends nothing, and counts what would be sent. Default: no. The source of secrets is not asked.
    #[must_use]
    pub const fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Where fresh secrets come from. Without it, a record with withheld ones is not sent.
    #[must_use]
    pub fn with_secrets<F>(mut self, source: F) -> Self
    where
        F: SecretSource + Send + Sync + 'static,
    {
        self.secrets = Some(Arc::new(source));
        self
    }

    /// What judges calls of a stack without a retry: see
    /// [`DeadLetterLayer::with_classifier`](crate::DeadLetterLayer::with_classifier).
    #[must_use]
    pub fn with_classifier<C>(mut self, classifier: C) -> Self
    where
        C: Classify + Send + Sync + 'static,
    {
        self.classifier = Arc::new(classifier);
        self
    }

    /// The wall clock by which keys grow old: the system's by default.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Is called when a record is done with, on the task that runs the redrive.
    #[must_use]
    pub fn with_on_progress<F>(mut self, on_progress: F) -> Self
    where
        F: Fn(&Progress<'_>) + Send + Sync + 'static,
    {
        self.on_progress = Some(Arc::new(on_progress));
        self
    }
}

impl Default for Redrive {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redrive")
            .field("concurrency", &self.concurrency)
            .field("total_timeout", &self.total_timeout)
            .field("key_lifetime", &self.key_lifetime)
            .field("max_redrives", &self.max_redrives)
            .field("max_failures_in_row", &self.max_failures_in_row)
            .field("filter", &self.filter)
            .field("id", &self.id)
            .field("may_run_twice", &self.may_run_twice)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}
