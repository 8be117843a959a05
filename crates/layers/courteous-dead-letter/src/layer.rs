mod collect;
mod counts;
mod event;
mod events;
mod future;
mod outcome;
mod recording;
mod service;
mod settings;
mod ticket;

use std::{fmt, sync::Arc, time::Duration};

use courteous_body::{Native, ReplayBody, Via};
use courteous_core::{Classify, LayerKind, LettersSnapshot, ObserveOnly, RequestView};
use http::HeaderName;
use tower_layer::Layer;

use self::settings::Settings;
pub use self::{
    event::{LetterEvent, LetterOutcome},
    future::ResponseFuture,
    outcome::{DeadLettered, NotRecorded, NotRecordedCause},
    service::DeadLetter,
};
use crate::{BodyScrubber, Clock, Reason, Sink};

/// Keeps the calls that have finally failed.
///
/// | setting | default | why |
/// |---|---|---|
/// | reasons | all but `Permanent`, `Vetoed` and `Abandoned` | what may succeed later, and all that was not sent |
/// | requests | all | a read that nobody waits for need not be kept: see [`with_filter`](Self::with_filter) |
/// | body bytes kept | 64 KiB | as the retry |
/// | time to record | 2 s | the call has failed, and its caller waits |
/// | key header | `idempotency-key` | the IETF draft's name |
/// | lifetime of a key | 23 h | as a redrive's |
/// | classifier, where no retry is inside | [`HttpClassifier`](courteous_classify::HttpClassifier) | the retry's: both must agree on what a failure is |
///
/// # Secrets
///
/// Credentials are never written, and known in the record by their names only. What is one is told by its name, its mark, its
/// form, and by what is known already:
///
/// - a header field or a query value, if the words in its name say so: *token*, *secret*, *key*, *auth*, *password*,
///   *signature*, *session*, *cookie*, *credential*, *jwt* and others, in any case, joined (`apikey`) and encoded (`%74oken`). Names
///   that say what a key or a token is of are none: `primary_key`, `pageToken`, `max_tokens`. A name in doubt is a secret;
/// - those that the layer is given by [`with_secret_header`](Self::with_secret_header) and
///   [`with_secret_query`](Self::with_secret_query), but not those that it is given by
///   [`with_plain_header`](Self::with_plain_header) and [`with_plain_query`](Self::with_plain_query);
/// - a header field whose value is marked as sensitive;
/// - a value that has the form of a credential, as `Bearer ...`, a JWT, `ghp_...`, or that holds a URL with a secret;
/// - the user in the target;
/// - a header field or a tag that holds a secret of the same request.
///
/// The text of an error is written without them. The idempotency key is no secret. **The path of the target is written as it
/// is, and so is a body**, unless it is [scrubbed](Self::with_body_scrubber).
///
/// # Sharing
///
/// Every service that this layer makes, and every clone of one, hands its letters to the layer's sink.
#[derive(Clone)]
pub struct DeadLetterLayer<K = Native> {
    settings: Arc<Settings>,
    keep: K,
}

impl DeadLetterLayer {
    /// The layer with its defaults, whose letters go to `sink`.
    #[must_use]
    pub fn new(sink: impl Sink + 'static) -> Self {
        Self {
            settings: Arc::new(Settings::new(Arc::new(sink))),
            keep: Native::new(),
        }
    }
}

impl<K> DeadLetterLayer<K> {
    /// Records calls that failed for `reason`, too: those that their callers have dropped, for one.
    ///
    /// ```
    /// # use courteous_dead_letter::{DeadLetterLayer, MemoryStore, Reason};
    /// DeadLetterLayer::new(MemoryStore::new()).with_reason(Reason::Abandoned);
    /// ```
    #[must_use]
    pub fn with_reason(self, reason: Reason) -> Self {
        self.with(|settings| settings.reasons = settings.reasons.with(reason))
    }

    /// Does not record calls that failed for `reason`.
    #[must_use]
    pub fn without_reason(self, reason: Reason) -> Self {
        self.with(|settings| settings.reasons = settings.reasons.without(reason))
    }

    /// Records only the calls for which `only` is true of the request. The others pass through untouched, at no cost.
    ///
    /// ```
    /// # use courteous_dead_letter::{DeadLetterLayer, MemoryStore};
    /// let layer = DeadLetterLayer::new(MemoryStore::new());
    /// layer.with_filter(|request| !request.method().is_safe());
    /// ```
    #[must_use]
    pub fn with_filter<F>(self, only: F) -> Self
    where
        F: Fn(RequestView<'_>) -> bool + Send + Sync + 'static,
    {
        self.with(|settings| settings.filter = Some(Arc::new(only)))
    }

    /// What judges calls around which there is no retry: which responses are failures, and whether a request may have been
    /// sent. With a retry inside, its word counts.
    ///
    /// It sees the request by its method and target: [`Outcome::request`](courteous_core::Outcome::request). What a limit of ours
    /// refuses is judged before that: it was not sent.
    ///
    /// A retry of another library says nothing, and the last error is no word on the attempts before it: by default, a connection
    /// that is refused means that nothing was sent. Around such a retry, this is to say
    /// [`MaybeProcessed`](courteous_core::Effect::MaybeProcessed) of every error.
    #[must_use]
    pub fn with_classifier<C>(self, classifier: C) -> Self
    where
        C: Classify + Send + Sync + 'static,
    {
        self.with(|settings| settings.classifier = Arc::new(classifier))
    }

    /// The header field that holds the idempotency key. Default: `idempotency-key`.
    #[must_use]
    pub fn with_key_header(self, name: HeaderName) -> Self {
        self.with(|settings| {
            settings.key_header = name;
            settings.is_key_header_chosen = true;
        })
    }

    /// The header field that holds the key if [`with_key_header`](Self::with_key_header) was not called: for presets, which know
    /// the field that their key layer writes.
    #[must_use]
    pub fn with_default_key_header(self, name: HeaderName) -> Self {
        match self.settings.is_key_header_chosen {
            true => self,
            false => self.with(|settings| settings.key_header = name),
        }
    }

    /// How long the server remembers an idempotency key: what [`Redrive::with_key_lifetime`](crate::Redrive::with_key_lifetime) says.
    /// Default: 23 h.
    ///
    /// A call that may have been processed, and whose server then asks for a longer pause, cannot be sent again safely. Its letter
    /// is recorded as expired, for [`Reason::KeyRunsOut`]. `Duration::MAX` says that keys are never forgotten.
    #[must_use]
    pub fn with_key_lifetime(self, lifetime: Duration) -> Self {
        self.with(|settings| settings.key_lifetime = lifetime)
    }

    /// How many bytes of a body are kept, in memory while the call is under way, and then in the record. Default: 64 KiB.
    ///
    /// A request with a longer body is recorded with the beginning at most, and cannot be sent again. Bodies that are in memory
    /// anyway, such as `Full`, are held whole until the call has ended.
    #[must_use]
    pub fn with_body_limit(self, bytes: usize) -> Self {
        self.with(|settings| settings.body_limit = bytes)
    }

    /// One more header field that is not to be written.
    #[must_use]
    pub fn with_secret_header(self, name: HeaderName) -> Self {
        self.with(|settings| settings.secrecy.headers.add_secret(name.as_str()))
    }

    /// A header field that is written, whatever the words in its name, or the form of its value.
    ///
    /// It is still withheld if its value is marked as sensitive, or holds one of the request's secrets or a URL with one.
    ///
    /// ```
    /// # use courteous_dead_letter::{DeadLetterLayer, MemoryStore};
    /// use http::HeaderName;
    ///
    /// let layer = DeadLetterLayer::new(MemoryStore::new());
    /// layer.with_plain_header(HeaderName::from_static("x-session-affinity"));
    /// ```
    #[must_use]
    pub fn with_plain_header(self, name: HeaderName) -> Self {
        self.with(|settings| settings.secrecy.headers.add_plain(name.as_str()))
    }

    /// One more query parameter whose value is not to be written, in any case and however it is encoded.
    #[must_use]
    pub fn with_secret_query(self, name: &str) -> Self {
        self.with(|settings| settings.secrecy.query.add_secret(name))
    }

    /// A query parameter whose value is written, whatever the words in its name, or the form of its value, unless that holds a
    /// URL with a secret.
    #[must_use]
    pub fn with_plain_query(self, name: &str) -> Self {
        self.with(|settings| settings.secrecy.query.add_plain(name))
    }

    /// Takes secrets out of the bodies of forms and of JSON before they are written. Default: none, and a body is written as it is.
    ///
    /// A letter whose body was scrubbed is for reading only: a redrive does not send it. See [`BodyScrubber`].
    #[must_use]
    pub fn with_body_scrubber(self, scrubber: BodyScrubber) -> Self {
        self.with(|settings| settings.body_scrubber = Some(scrubber))
    }

    /// How long a call that has failed may wait for its letter to be durable. Default: 2 s.
    ///
    /// It is counted from the failure on, beyond the call's deadline, which may have passed. Zero hands the letter over and waits
    /// for nothing; `Duration::MAX` waits as long as it takes. Half of it, and a second at most, may go to what was not read yet
    /// of a streamed body.
    #[must_use]
    pub fn with_record_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.record_timeout = timeout)
    }

    /// Whether a call that has finally failed with a *response*, and cannot be recorded, fails with
    /// [`NotRecorded`](crate::NotRecorded) instead. Default: no; the response is returned, and carries that.
    #[must_use]
    pub fn with_must_record(self, must: bool) -> Self {
        self.with(|settings| settings.must_record = must)
    }

    /// Is called for each call that has finally failed, on the task that polls it, or that drops it.
    #[must_use]
    pub fn with_on_letter<F>(self, on_letter: F) -> Self
    where
        F: Fn(&LetterEvent<'_>) + Send + Sync + 'static,
    {
        self.with(|settings| settings.on_letter = Some(Arc::new(on_letter)))
    }

    /// The wall clock that the times in letters are from: the system's by default.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.with(|settings| settings.clock = clock)
    }

    /// How many letters were made, by this layer and its clones: for a health check, or a support ticket. It holds nothing of what
    /// is in them. What is in the store is told by [`LetterStore::stats`](crate::LetterStore::stats).
    #[must_use]
    pub fn snapshot(&self) -> LettersSnapshot {
        self.settings.counts.snapshot()
    }

    /// Only observes: nothing is kept and no outcome is changed, while the switch is on. `true` is a switch of the layer's own;
    /// `false` enforces, also in a stack that only observes. The default is to enforce.
    ///
    /// A call that would have been recorded is counted as [`Decision::DeadLetter`](courteous_core::Decision::DeadLetter), and an
    /// event tells its reason. Its body is not kept and the hook is not called. Whether the sink would have taken the
    /// letter is not known.
    #[must_use]
    pub fn observe_only(self, switch: impl Into<ObserveOnly>) -> Self {
        self.with(|settings| settings.observe = Some(switch.into()))
    }

    /// The switch that says whether the layer only observes. `None`: it enforces.
    #[must_use]
    pub fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.settings.observe.as_ref()
    }

    /// Keeps bodies of a type that this crate does not know, by a function that makes one of a [`ReplayBody`].
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use courteous_core::BoxError;
    /// # use courteous_dead_letter::{DeadLetterLayer, MemoryStore};
    /// # use http_body_util::combinators::UnsyncBoxBody;
    /// type Body = UnsyncBoxBody<Bytes, BoxError>; // or the `Body` of your client's library
    /// DeadLetterLayer::new(MemoryStore::new()).via(Body::new);
    /// ```
    #[must_use]
    pub fn via<B, F>(self, wrap: F) -> DeadLetterLayer<Via<F>>
    where
        F: Fn(ReplayBody<B>) -> B,
    {
        DeadLetterLayer {
            settings: self.settings,
            keep: Via::new(wrap),
        }
    }

    /// Waits until the sink has made all letters durable that it was handed, or has given them up: see [`Sink::flush`].
    ///
    /// Most calls wait for their own letter. Letters of calls that were dropped, or that have waited for longer than the time to
    /// record, are waited for here. To be awaited before a process ends, after its calls.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn flush(&self) {
        self.settings.sink.flush().await;
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S, K: Clone> Layer<S> for DeadLetterLayer<K> {
    type Service = DeadLetter<S, K>;

    fn layer(&self, inner: S) -> DeadLetter<S, K> {
        LayerKind::DeadLetter.check_order::<S>();
        DeadLetter::new(inner, Arc::clone(&self.settings), self.keep.clone())
    }
}

impl<K> fmt::Debug for DeadLetterLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterLayer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
