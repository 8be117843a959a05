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

/// Sends dead letters again, through the application's own stack, with the same key and the same
/// bytes.
///
/// The command `courteous-dlq replay` runs one from a shell.
///
/// | setting | default | why |
/// |---|---|---|
/// | at a time | 8 | the stack's limits decide; this bounds how many records a crash leaves claimed |
/// | total timeout of a call | 30 s | the standard stack's timeout: set it to your stack's own |
/// | lifetime of a key | 23 h | most providers keep keys for 24 h |
/// | redrives of a record | 10 | if ten do not deliver a record, a person must look at it |
/// | failures in a row | 20 | the server is still down: the rest is left for later |
///
/// # What is sent
///
/// Sends all pending records whose `not_before` has come, oldest first, each once in a run, with
/// these exceptions:
///
/// - A record may be safe by its key alone. If it may have been processed first longer ago than the
///   lifetime of keys, less the total timeout, it is marked as expired: the server may have
///   forgotten the key, and would process the request again. A record that was never sent, or only
///   ever refused, is sent however late;
/// - A record is left alone if it may have been processed, has neither a key nor an idempotent
///   method, and its caller did not [call it idempotent](crate::Letter::idempotent). It is still
///   sent if it is [named](Self::with_id) and [running twice is allowed](Self::with_may_run_twice).
///   A record that its caller called not idempotent is left alone in the same way;
/// - A record is left alone if its body was not kept whole, or if there are no fresh secrets for
///   its withheld ones;
/// - A record that cannot be read is left alone, and reported after the others were tried.
///
/// # What becomes of it
///
/// A success (2xx) is delivered. Another answer that would come again, such as a 404, is refused,
/// and kept with its status. Any other outcome leaves the record pending, and adds the new attempts
/// and their history to the old ones. 401, 403 and 407 also leave it pending: they are final only
/// for the credentials that were sent. Many of them in a row end the run, as failures of a server
/// that is down do. A 409 leaves a record pending if the record has a key and may have been
/// processed: an earlier copy under that key may still be in progress. A gRPC failure in the head
/// of a response, which is a 200, counts as the HTTP status that `google.rpc.Code` names for it.
/// CANCELLED, which has no registered status, counts as 500.
///
/// Each request has [`Redriving`](crate::Redriving) in its extensions, so that a dead-letter layer
/// in the stack does not record the request again.
///
/// A redrive is not in order with later calls: a `PUT` that is sent again may undo a later one.
///
/// # At least once
///
/// A record is claimed before it is sent, for the total timeout and 30 s, and settled after the
/// answer. If a redrive is killed, its claims run out, and a later redrive continues. If it is
/// killed between the answer and the settlement, a duplicate is sent *with the same key*, which the
/// server recognises. Two redrives at once share the work: a fencing number ensures that only the
/// newest claim settles.
///
/// # Cancel safety
///
/// Dropping the future of [`run`](Self::run) is like killing the redrive: records being sent stay
/// claimed until their lease ends.
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

/// How long servers remember a key at least: most providers keep keys for 24 h.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_secs(23 * 60 * 60);
/// The total timeout of a call. The call must end within it, and within the lifetime of its key.
pub(crate) const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a claim outlasts the call.
const MARGIN: Duration = Duration::from_secs(30);

/// Sends the pending letters of `store` again, with the defaults of [`Redrive`].
///
/// # Errors
///
/// The store's errors. What was sent by then is settled, as far as the store allows.
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
    /// A redrive of all pending records, with the defaults.
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

    /// How long one call may take, with all its attempts. Set it to the stack's own total timeout.
    /// Default: 30 s.
    ///
    /// This is the call's deadline, counted from the claim, and the claim lasts 30 s longer. A
    /// stack that continues beyond the deadline is cut off. A record that could not be sent by then
    /// is not sent, so zero sends nothing.
    #[must_use]
    pub const fn with_total_timeout(mut self, timeout: Duration) -> Self {
        self.total_timeout = timeout;
        self
    }

    /// How long the server remembers an idempotency key. Default: 23 h.
    ///
    /// The age is counted from the first call that may have been processed. A call has no key that
    /// ages if it was never sent, was only ever refused, or has an idempotent method. A record
    /// whose key is older is marked as expired, and not sent. A record whose server asks for a
    /// longer pause expires at once, by [`Reason::KeyRunsOut`](crate::Reason::KeyRunsOut).
    /// `Duration::MAX` sends a record at any age.
    #[must_use]
    pub const fn with_key_lifetime(mut self, lifetime: Duration) -> Self {
        self.key_lifetime = lifetime;
        self
    }

    /// How often a record is sent again before it expires. Default: 10. With zero, all records
    /// expire.
    #[must_use]
    pub const fn with_max_redrives(mut self, redrives: u32) -> Self {
        self.max_redrives = redrives;
        self
    }

    /// Ends the run when this many records in a row have failed, or were rejected by a limit.
    /// Default: 20; `None` tries all records.
    ///
    /// Otherwise a server that is still down would use up a redrive of each record.
    #[must_use]
    pub const fn with_max_failures_in_row(mut self, failures: Option<NonZeroU32>) -> Self {
        self.max_failures_in_row = failures;
        self
    }

    /// Sends only the records that `filter` accepts. The filter's state is ignored.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Sends only the record with this id, if it is pending and its `not_before` has come.
    #[must_use]
    pub const fn with_id(mut self, id: LetterId) -> Self {
        self.id = Some(id);
        self
    }

    /// Whether to send a record that may have been processed and that nothing protects from being
    /// processed twice. Default: no. It applies only to a record that is [named](Self::with_id):
    /// decide this for each record separately.
    #[must_use]
    pub const fn with_may_run_twice(mut self, may: bool) -> Self {
        self.may_run_twice = may;
        self
    }

    /// Claims and sends nothing, and counts what would be sent. Default: no. The source of secrets
    /// is not asked.
    #[must_use]
    pub const fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// The source of fresh secrets. Without it, a record with withheld secrets is not sent.
    #[must_use]
    pub fn with_secrets<F>(mut self, source: F) -> Self
    where
        F: SecretSource + Send + Sync + 'static,
    {
        self.secrets = Some(Arc::new(source));
        self
    }

    /// The classifier for calls of a stack without a retry: see
    /// [`DeadLetterLayer::with_classifier`](crate::DeadLetterLayer::with_classifier).
    #[must_use]
    pub fn with_classifier<C>(mut self, classifier: C) -> Self
    where
        C: Classify + Send + Sync + 'static,
    {
        self.classifier = Arc::new(classifier);
        self
    }

    /// The wall clock that measures the age of keys: the system's by default.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets a hook that is called when a record is finished, on the task that runs the redrive.
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
