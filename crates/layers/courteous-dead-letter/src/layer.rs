mod collect;
mod counts;
mod event;
mod events;
mod future;
mod outcome;
mod pending_call;
mod recording;
mod service;
mod settings;

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
/// | reasons | all but `Permanent`, `Vetoed` and `Abandoned` | calls that may succeed later, and all calls that were not sent |
/// | requests | all | a read whose caller is gone need not be kept: see [`with_filter`](Self::with_filter) |
/// | body bytes kept | 64 KiB | as the retry |
/// | time to record | 2 s | the call has failed, and its caller waits |
/// | key header | `idempotency-key` | the IETF draft's name |
/// | lifetime of a key | 23 h | as a redrive's |
/// | classifier, where no retry is inside | [`HttpClassifier`](courteous_classify::HttpClassifier) | the retry's: both must agree on what a failure is |
///
/// # Secrets
///
/// Credentials are never written. The record has only their names. A credential is recognised by
/// its name, its mark or its form, or because it is already known:
///
/// - a header field or a query value, if the words in its name say so: *token*, *secret*, *key*,
///   *auth*, *password*, *signature*, *session*, *cookie*, *credential*, *jwt* and others, in any
///   case, joined (`apikey`) and encoded (`%74oken`). A name that says what its key or token is for
///   is not secret: `primary_key`, `pageToken`, `max_tokens`. A name in doubt is a secret;
/// - the names given to [`with_secret_header`](Self::with_secret_header) and
///   [`with_secret_query`](Self::with_secret_query), but not the names given to
///   [`with_plain_header`](Self::with_plain_header) and
///   [`with_plain_query`](Self::with_plain_query);
/// - a header field whose value is marked as sensitive;
/// - a value that has the form of a credential, such as `Bearer ...`, a JWT or `ghp_...`, or that
///   holds a URL with a secret;
/// - the user in the target;
/// - a header field or a tag that holds a secret of the same request.
///
/// The text of an error is written without credentials. The idempotency key is not a secret. **The
/// path of the target is written as it is, and so is a body**, unless the body is
/// [scrubbed](Self::with_body_scrubber).
///
/// # Sharing
///
/// Every service that this layer makes, and every clone of such a service, hands its letters to the
/// layer's sink.
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
    /// Also records calls that failed for `reason`, for example calls that their callers have
    /// dropped.
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

    /// Records only the calls whose requests `only` accepts. The other calls pass through
    /// unchanged, at no cost.
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

    /// Sets the classifier for calls that have no retry inside. It decides which responses are
    /// failures, and whether a request may have been sent. If there is a retry inside, the retry's
    /// decision counts.
    ///
    /// The classifier sees the request by its method and target:
    /// [`Outcome::request`](courteous_core::Outcome::request). A rejection by one of our limits is
    /// judged before that: the request was not sent.
    ///
    /// A retry of another library reports nothing, and the last error says nothing about the
    /// attempts before it. By default, a refused connection means that nothing was sent. Around
    /// such a retry, the classifier should return
    /// [`MaybeProcessed`](courteous_core::Effect::MaybeProcessed) for every error.
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

    /// The header field that holds the key if [`with_key_header`](Self::with_key_header) was not
    /// called. For presets, which know the field that their key layer writes.
    #[must_use]
    pub fn with_default_key_header(self, name: HeaderName) -> Self {
        match self.settings.is_key_header_chosen {
            true => self,
            false => self.with(|settings| settings.key_header = name),
        }
    }

    /// How long the server remembers an idempotency key, as in
    /// [`Redrive::with_key_lifetime`](crate::Redrive::with_key_lifetime). Default: 23 h.
    ///
    /// If a call may have been processed, and its server then asks for a longer pause, the call
    /// cannot be sent again safely. Its letter is recorded as expired, for [`Reason::KeyRunsOut`].
    /// `Duration::MAX` says that keys are never forgotten.
    #[must_use]
    pub fn with_key_lifetime(self, lifetime: Duration) -> Self {
        self.with(|settings| settings.key_lifetime = lifetime)
    }

    /// How many bytes of a body are kept: in memory while the call is in flight, and then in the
    /// record. Default: 64 KiB.
    ///
    /// For a longer body, at most the beginning is recorded, and the request cannot be sent again.
    /// Bodies that are in memory anyway, such as `Full`, are held whole until the call has ended.
    #[must_use]
    pub fn with_body_limit(self, bytes: usize) -> Self {
        self.with(|settings| settings.body_limit = bytes)
    }

    /// Adds a header field that must not be written.
    #[must_use]
    pub fn with_secret_header(self, name: HeaderName) -> Self {
        self.with(|settings| settings.secrecy.headers.add_secret(name.as_str()))
    }

    /// Adds a header field that is written, whatever the words in its name or the form of its
    /// value.
    ///
    /// The field is still withheld if its value is marked as sensitive, or holds one of the
    /// request's secrets or a URL with a secret.
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

    /// Adds a query parameter whose value must not be written, in any case and however it is
    /// encoded.
    #[must_use]
    pub fn with_secret_query(self, name: &str) -> Self {
        self.with(|settings| settings.secrecy.query.add_secret(name))
    }

    /// Adds a query parameter whose value is written, whatever the words in its name or the form of
    /// its value. A value that holds a URL with a secret is still withheld.
    #[must_use]
    pub fn with_plain_query(self, name: &str) -> Self {
        self.with(|settings| settings.secrecy.query.add_plain(name))
    }

    /// Removes secrets from the bodies of forms and of JSON before they are written. Default: no
    /// scrubber, and a body is written as it is.
    ///
    /// A letter whose body was scrubbed is for reading only: a redrive does not send it. See [`BodyScrubber`].
    #[must_use]
    pub fn with_body_scrubber(self, scrubber: BodyScrubber) -> Self {
        self.with(|settings| settings.body_scrubber = Some(scrubber))
    }

    /// How long a call that has failed may wait for its letter to be durable. Default: 2 s.
    /// The time counts from the failure, and may go beyond the call's deadline, which may have
    /// passed. Zero hands the letter over and waits for nothing; `Duration::MAX` waits as long as
    /// it takes. Half of the time, and a second at most, may be used to read the rest of a streamed
    /// body.
    #[must_use]
    pub fn with_record_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.record_timeout = timeout)
    }

    /// Whether a call fails with [`NotRecorded`](crate::NotRecorded) if it has finally failed with
    /// a *response* and cannot be recorded. Default: no; the response is returned, and carries the
    /// [`NotRecorded`](crate::NotRecorded).
    #[must_use]
    pub fn with_must_record(self, must: bool) -> Self {
        self.with(|settings| settings.must_record = must)
    }

    /// Sets a hook that is called for each call that has finally failed, on the task that polls or
    /// drops the call.
    #[must_use]
    pub fn with_on_letter<F>(self, on_letter: F) -> Self
    where
        F: Fn(&LetterEvent<'_>) + Send + Sync + 'static,
    {
        self.with(|settings| settings.on_letter = Some(Arc::new(on_letter)))
    }

    /// The wall clock for the times in letters: the system's by default.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.with(|settings| settings.clock = clock)
    }

    /// How many letters this layer and its clones have made, for a health check or a support
    /// ticket. The snapshot holds nothing of the letters' content. For what is in the store, see
    /// [`LetterStore::stats`](crate::LetterStore::stats).
    #[must_use]
    pub fn snapshot(&self) -> LettersSnapshot {
        self.settings.counts.snapshot()
    }

    /// Only observes: while the switch is on, nothing is kept and no outcome is changed. `true` is
    /// a switch of the layer's own; `false` enforces, even in a stack that only observes. The
    /// default is to enforce.
    ///
    /// A call that would have been recorded is counted as
    /// [`Decision::DeadLetter`](courteous_core::Decision::DeadLetter), and an event tells its
    /// reason. Its body is not kept and the hook is not called. The layer does not know whether the
    /// sink would have taken the letter.
    #[must_use]
    pub fn observe_only(self, switch: impl Into<ObserveOnly>) -> Self {
        self.with(|settings| settings.observe = Some(switch.into()))
    }

    /// The switch that says whether the layer only observes. `None` if it enforces.
    #[must_use]
    pub fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.settings.observe.as_ref()
    }

    /// Keeps bodies of a type that this crate does not know, with a function that makes such a body
    /// from a [`ReplayBody`].
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

    /// Waits until the sink has made all letters durable that it was given, or has given them up:
    /// see [`Sink::flush`].
    ///
    /// Most calls wait for their own letter. This also waits for letters of dropped calls, and for
    /// letters that have taken longer than the time to record. Await it after the last call, before
    /// the process ends.
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
