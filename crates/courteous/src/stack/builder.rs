use std::{num::NonZeroUsize, time::Duration};

use courteous_concurrency::{self as concurrency, ConcurrencyLimitLayer, Keyed, Limiter};
use courteous_core::{InvalidSettings, ObserveOnly};
#[cfg(feature = "dead-letter")]
use courteous_dead_letter::DeadLetterLayer;
use courteous_idempotency::{IdempotencyKeyLayer, RandomUuid};
use courteous_limit::Partition;
use courteous_retry::RetryLayer;
use courteous_throttle::{PerOrigin, Rate, ThrottleLayer};
#[cfg(feature = "tonic")]
use courteous_timeout::DeadlineFormat;
use courteous_timeout::{AttemptTimeoutLayer, TotalTimeoutLayer};
#[cfg(feature = "tonic")]
use courteous_tonic::{GrpcStatusLayer, InvalidMethodName, TonicClassifier};
#[cfg(feature = "tonic")]
use http::HeaderName;
use tower_layer::Identity;

use super::{InvalidStack, StackLayer, layers::Layers};
use crate::{client::Closer, stack::Settings};

/// The whole stack in the recommended order, with defaults, and checked as a whole.
///
/// | from the outside in | default | why |
/// |---|---|---|
/// | idempotency key | off | a key makes a POST be sent again: only for servers that honour it |
/// | dead letter | off (feature `dead-letter`) | where letters are kept is for you to say |
/// | total timeout | 30 s, to the body's end | what a person waits for, and a proxy allows |
/// | retry | [`RetryLayer::new`]: 3 attempts within a [budget](crate::retry::Budget), full jitter | see there |
/// | concurrency limit | 128 per origin, to the body's end | far from ten thousand; see below |
/// | throttle | no rate, so no pacing; obeys pauses and used-up quotas of each origin | see [`ThrottleLayer`] |
/// | attempt timeout | 10 s of silence, to the head | three of them within the total timeout |
/// | idle timeout of the response body | off; 60 s with [`streaming`](Self::streaming) | a slow body is not a failure |
///
/// # Sharing
///
/// Every service that a [`StackLayer`] makes, and every clone of one, shares its limits and its budget, and is closed with the
/// others by [`Courteous::close`](crate::Courteous::close). The limits are for
/// each origin apart; the budget is one. A client of several servers that fail by themselves is best given a stack for each,
/// so that the retries of one are not spent on another.
///
/// Two stacks share nothing, unless they were given the same limiter, bucket or budget.
///
/// # gRPC
///
/// For a client that tonic has generated, begin with `Stack::grpc()` (feature `tonic`). Such a client calls every error UNKNOWN
/// that is not a `tonic::Status`, and only the stack that `grpc` begins makes statuses of them.
///
/// # How many in flight
///
/// A process needs *calls per second x seconds each* permits, and at 100 ms a call the default is enough for 1,280 a second. A
/// limit that is below the need lets a queue grow until every call waits as long as its deadline lets it; then permits go to
/// calls whose callers have given up. Set it with room to spare, or bound the wait by
/// [`ConcurrencyLimitLayer::with_max_wait`].
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use courteous::{Stack, idempotency::IdempotencyKeyLayer, throttle::ThrottleLayer};
/// use courteous_testing::Script;
/// use http::Request;
/// use http_body_util::Full;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Script::always(200).service(); // in place of a client
/// let client = Stack::new()
///     .with_total_timeout(Duration::from_secs(20))
///     .with_idempotency_key(IdempotencyKeyLayer::new().with_hosts(["api.example.com"])?)
///     .with_throttle(ThrottleLayer::per_origin("25/s".parse()?))
///     .build()?
///     .layer(server.clone());
///
/// let request = Request::post("https://api.example.com/charges").body(Full::new(&b"..."[..]))?;
/// let response = client.send(request).await?;
/// assert_eq!(response.status(), 200);
/// assert!(server.calls()[0].key().is_some());
/// # Ok(())
/// # }
/// ```
///
/// Settings that contradict each other are rejected when the stack is built:
///
/// ```
/// # use std::time::Duration;
/// # use courteous::Stack;
/// let error = Stack::new().with_total_timeout(Duration::from_secs(5)).build().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the attempt timeout of 10s is longer than the total timeout of 5s: \
///      shorten the one or lengthen the other",
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Stack<P = PerOrigin, O = Identity, G = RandomUuid> {
    layers: Layers<P, G>,
    streaming: bool,
    observe: Option<ObserveOnly>,
    /// Around all others.
    outer: O,
    #[cfg(feature = "tonic")]
    is_grpc: bool,
}

impl Stack {
    /// The stack with its defaults.
    #[must_use]
    pub fn new() -> Self {
        let no_keys = IdempotencyKeyLayer::new().with_methods([]);
        Self {
            layers: Layers {
                key: no_keys.unwrap_or_default(),
                #[cfg(feature = "dead-letter")]
                dead_letter: None,
                total: TotalTimeoutLayer::new(Duration::from_secs(30)),
                retry: RetryLayer::new(),
                concurrency: ConcurrencyLimitLayer::of(Keyed::per_origin(Limiter::from(IN_FLIGHT))),
                throttle: ThrottleLayer::per_origin(Rate::UNLIMITED),
                attempt: AttemptTimeoutLayer::new(Duration::from_secs(10)),
            },
            streaming: false,
            observe: None,
            outer: Identity::new(),
            #[cfg(feature = "tonic")]
            is_grpc: false,
        }
    }
}

#[cfg(feature = "tonic")]
impl Stack<PerOrigin, GrpcStatusLayer> {
    /// The stack for a gRPC client that tonic has generated: the same layers and defaults, and all that gRPC needs.
    ///
    /// | what | how |
    /// |---|---|
    /// | every error is a `tonic::Status` | [`GrpcStatusLayer`] is outermost: a timeout is DEADLINE_EXCEEDED, a rejection by a limit RESOURCE_EXHAUSTED |
    /// | the server is told how much time is left | `grpc-timeout` of each attempt, unless [`with_attempt_timeout`](Self::with_attempt_timeout) brings another field: the attempt timeout, or what is left of the call |
    /// | the timeout of a single call | `tonic::Request::set_timeout`: that of the whole call, with all its attempts |
    /// | what a failure means | [`TonicClassifier`], unless [`with_retry`](Self::with_retry) brings another one |
    /// | which calls may be made twice | those of [`with_idempotent_methods`](Self::with_idempotent_methods) |
    /// | why a call was given up | `courteous::Error::new(status)` tells, as does the status's source: see [`GrpcStatus`](crate::tonic::GrpcStatus) |
    ///
    /// A connection that was refused or never made, and a stream that the server refused unprocessed (REFUSED_STREAM, GOAWAY),
    /// are retried for every method. UNAVAILABLE is retried only if the method is idempotent, as the server may have acted on
    /// the call. So are an attempt that timed out, here or by the server's DEADLINE_EXCEEDED, and a RESOURCE_EXHAUSTED with a
    /// pushback or a `google.rpc.RetryInfo`. Every other status is an answer.
    ///
    /// The generated client does not give back what it stands on. To close it, or to read its limits, keep a clone of the service:
    /// `service.get_ref()` is the [`Courteous`](crate::Courteous) client, and clones share their state.
    ///
    /// # Streams
    ///
    /// A response that streams is bounded as a whole by the total timeout, and holds its permit to its end. The server is
    /// told the attempt timeout of 10 s, and may end the stream by then. For watches and other streams that go on, build a
    /// stack with [`streaming`](Self::streaming), or put [`LongLived`](crate::core::LongLived) among the extensions of the
    /// `tonic::Request`: the stream may then go on for as long as its messages come. A retry ends with the response's head: a
    /// stream that breaks later is yours to ask for again. A *request* that streams is sent again if it fits into 64 KiB.
    ///
    /// # Example
    ///
    /// ```
    /// use courteous::{Courteous, Stack, tonic::GrpcStatus};
    /// use tonic::transport::{Channel, Endpoint};
    /// use tonic_health::pb::health_client::HealthClient;
    ///
    /// type Client = HealthClient<GrpcStatus<Courteous<Channel>>>;
    ///
    /// fn client(channel: Channel) -> Result<Client, Box<dyn std::error::Error>> {
    ///     let stack = Stack::grpc().with_idempotent_methods(["/grpc.health.v1.Health/Check"])?;
    ///     Ok(HealthClient::new(stack.build()?.layer(channel)))
    /// }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # let _guard = runtime.enter();
    /// client(Endpoint::from_static("http://[::1]:50051").connect_lazy())?;
    ///
    /// let error = Stack::grpc().with_idempotent_methods(["SayHello"]).unwrap_err();
    /// assert!(error.to_string().contains("write `/package.Service/Method`"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn grpc() -> Self {
        let http = Stack::new();
        Self {
            layers: http.layers,
            streaming: http.streaming,
            observe: None,
            outer: GrpcStatusLayer::new(),
            is_grpc: true,
        }
    }
}

#[cfg(feature = "tonic")]
impl<P, G> Stack<P, GrpcStatusLayer, G> {
    /// Names the methods whose calls may be made twice: `/package.Service/Method`, or `/package.Service/*` for all methods of
    /// a service. Default: none, as all gRPC calls are POSTs.
    ///
    /// See [`GrpcStatusLayer::with_idempotent_methods`]. A single call says it by [`Idempotent`](crate::retry::Idempotent) among the
    /// extensions of its `tonic::Request`.
    ///
    /// # Errors
    ///
    /// If a name has another form.
    pub fn with_idempotent_methods<I>(mut self, names: I) -> Result<Self, InvalidMethodName>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.outer = self.outer.with_idempotent_methods(names)?;
        Ok(self)
    }
}

impl<P, O, G> Stack<P, O, G> {
    /// Gives each POST and PATCH a key, so that it can be sent again. Only for servers that honour it: name them by
    /// [`IdempotencyKeyLayer::with_hosts`].
    ///
    /// The keys are random, or what [`IdempotencyKeyLayer::with_generator`] makes them of the request:
    ///
    /// ```
    /// use courteous::{
    ///     Stack,
    ///     core::RequestView,
    ///     idempotency::{IdempotencyKeyLayer, Key},
    /// };
    ///
    /// #[derive(Clone)]
    /// struct Order(u64);
    ///
    /// let key = IdempotencyKeyLayer::new().with_generator(|request: RequestView<'_>| {
    ///     let order = request.extensions().get::<Order>()?;
    ///     Key::new(&format!("order-{}", order.0)).ok()
    /// });
    /// let layer = Stack::new().with_idempotency_key(key).build()?;
    /// # let _ = layer;
    /// # Ok::<_, courteous::stack::InvalidStack>(())
    /// ```
    ///
    /// The generator's type is a part of the stack's and of the client's: for a closure in a field, make it a
    /// [`BoxClient`](crate::BoxClient), or use a function pointer.
    ///
    /// The retry and the dead letter read the key in the header field that this layer writes, unless they were told of another
    /// one by their own `with_key_header`.
    #[must_use]
    pub fn with_idempotency_key<H>(self, layer: IdempotencyKeyLayer<H>) -> Stack<P, O, H> {
        Stack {
            layers: self.layers.with_key(layer),
            streaming: self.streaming,
            observe: self.observe,
            outer: self.outer,
            #[cfg(feature = "tonic")]
            is_grpc: self.is_grpc,
        }
    }

    /// Keeps the calls that have finally failed. The default keeps none.
    ///
    /// It is just inside of the key, so that every record holds the key that was sent.
    #[cfg(feature = "dead-letter")]
    #[must_use]
    pub fn with_dead_letter(mut self, layer: DeadLetterLayer) -> Self {
        self.layers.dead_letter = Some(layer);
        self
    }

    /// The total timeout: a `Duration`, or a layer.
    #[must_use]
    pub fn with_total_timeout(mut self, timeout: impl Into<TotalTimeoutLayer>) -> Self {
        self.layers.total = timeout.into();
        self
    }

    /// The retry.
    #[must_use]
    pub fn with_retry(mut self, layer: RetryLayer) -> Self {
        self.layers.retry = layer;
        self
    }

    /// The concurrency limit, for each origin.
    #[must_use]
    pub fn with_concurrency_limit(
        mut self,
        layer: ConcurrencyLimitLayer<concurrency::PerOrigin>,
    ) -> Self {
        self.layers.concurrency = layer;
        self
    }

    /// The throttle: for each origin, or as its partition says.
    #[must_use]
    pub fn with_throttle<Q>(self, layer: ThrottleLayer<Q>) -> Stack<Q, O, G> {
        Stack {
            layers: self.layers.with_throttle(layer),
            streaming: self.streaming,
            observe: self.observe,
            outer: self.outer,
            #[cfg(feature = "tonic")]
            is_grpc: self.is_grpc,
        }
    }

    /// The timeout of an attempt: a `Duration`, or a layer. It limits the server's silence, and not our own upload.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: impl Into<AttemptTimeoutLayer>) -> Self {
        self.layers.attempt = timeout.into();
        self
    }

    /// Is for calls whose responses go on for long: event streams, watches, gRPC streams.
    ///
    /// Each call is then [`LongLived`](crate::core::LongLived): the total timeout and the permit end with the response head. The body may go on for
    /// as long as its frames come, with 60 s of silence at most between two of them. A proxy that closes idle connections
    /// allows about as much, so servers send something more often.
    ///
    /// The limit on silence is [`AttemptTimeoutLayer::with_idle_timeout`] of the attempt timeout, and
    /// [`IdleTimeout`](courteous_timeout::IdleTimeout) of a single request. [`Coverage::Body`](courteous_timeout::Coverage)
    /// among a request's extensions has the total timeout cover the body of that call.
    ///
    /// In a stack for other calls, a single request says the same by `LongLived` among its extensions, and its own limit
    /// on silence by `IdleTimeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use courteous::{Stack, timeout::AttemptTimeoutLayer};
    ///
    /// let attempt = AttemptTimeoutLayer::new(Duration::from_secs(5));
    /// let watch = Stack::new()
    ///     .streaming()
    ///     .with_attempt_timeout(attempt.with_idle_timeout(Duration::from_secs(300)))
    ///     .build()?;
    /// # Ok::<_, courteous::stack::InvalidStack>(())
    /// ```
    #[must_use]
    pub const fn streaming(mut self) -> Self {
        self.streaming = true;
        self
    }

    /// The same with what `settings` state; what they do not state is left as it is. See [`Settings`].
    ///
    /// The throttle's `rates` and the concurrency limit's `limit` are changed in the layers' handles: stacks that share these
    /// have them, too.
    ///
    /// # Errors
    ///
    /// [`InvalidSettings`], which names the setting and the rule. What contradicts something else is told by
    /// [`build`](Self::build).
    pub fn with_settings(mut self, settings: &Settings) -> Result<Self, InvalidSettings>
    where
        P: Partition + Clone,
        G: Clone,
    {
        let layers = &mut self.layers;
        let within = |name| move |error: InvalidSettings| error.within(name);
        layers.key = (layers.key.clone())
            .with_settings(&settings.idempotency_key)
            .map_err(within("idempotency_key"))?;
        layers.retry = (layers.retry.clone())
            .with_settings(&settings.retry)
            .map_err(within("retry"))?;
        if let Some(timeout) = settings.total_timeout {
            layers.total = layers.total.clone().with_timeout(timeout);
        }
        if let Some(timeout) = settings.attempt_timeout {
            layers.attempt = layers.attempt.clone().with_timeout(timeout);
        }
        if let Some(timeout) = settings.idle_timeout {
            layers.attempt = layers.attempt.clone().with_idle_timeout(timeout);
        }
        // Last, as these change what is shared.
        layers.throttle = (layers.throttle.clone())
            .with_settings(&settings.throttle)
            .map_err(within("throttle"))?;
        layers.concurrency = (layers.concurrency.clone())
            .with_settings(&settings.concurrency_limit)
            .map_err(within("concurrency_limit"))?;
        self.streaming = settings.streaming.unwrap_or(self.streaming);
        Ok(self)
    }

    /// Only observes: each layer decides, counts its decision and tells it, and the call passes as if there were no stack. For
    /// the time before it is switched on. `true` is a switch of the stack's own, and an [`ObserveOnly`] one that you keep.
    ///
    /// It holds for all layers, whether they are set before or after. A layer that has said [`observe_only`] itself keeps to that:
    /// by `observe_only(false)`, a single layer is enforced.
    ///
    /// ```
    /// use courteous::{
    ///     Stack,
    ///     core::{Decision, ObserveOnly},
    ///     throttle::ThrottleLayer,
    /// };
    ///
    /// let switch = ObserveOnly::new();
    /// let client = Stack::new()
    ///     .with_throttle(ThrottleLayer::per_origin("25/s".parse()?))
    ///     .observe_only(switch.clone())
    ///     .build()?;
    /// // ... a week of calls ...
    /// println!("{switch:?}"); // what the layers would have done, and how often
    /// let waits = switch.count(Decision::ThrottleWait);
    /// let longest = switch.longest_wait(Decision::ThrottleWait);
    /// # drop((client, waits, longest));
    /// switch.set(false); // from now on it is done, without a restart
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # What passes unchanged
    ///
    /// The request, at the instant at which it came, once; and its response or error. What remains of the stack are types: the
    /// body is wrapped, an error is an [`Error`](crate::Error) around the client's. Streaming bodies are kept up to 64 KiB by the retry,
    /// to know whether they could be sent again. Of `Stack::grpc`, the outermost layer still makes a gRPC status of an error.
    ///
    /// # What to look at
    ///
    /// | count | the layer would have | if it is high |
    /// |---|---|---|
    /// | `ConcurrencyWait` | had the call wait for a permit; for how long is not known | raise the limit |
    /// | `ConcurrencyReject` | rejected the call | raise the limit, or the queue's bound |
    /// | `ThrottleWait` | had the call wait for its token, for [`total_wait`] in sum | raise the rate or its burst, or make fewer calls |
    /// | `ThrottleReject` | rejected the call | the same, or allow for a longer wait |
    /// | `Retry` | sent the call again; what would have come of that is not known | look at what fails |
    /// | `BudgetReject` | sent the call again if the budget allowed that | the server fails for all: no retry helps |
    /// | `TotalTimeout` | ended the call | raise the timeout |
    /// | `AttemptTimeout` | ended the attempt | raise the timeout |
    /// | `Key` | given the request a key | name the hosts that honour keys |
    /// | `KeyReject` | rejected the call, as its key is malformed | correct the caller |
    /// | `DeadLetter` | recorded the call | make room in the store |
    ///
    /// With the feature `tracing`, each decision is also an event at debug level with `observed = true`.
    ///
    /// # What cannot be known
    ///
    /// Each layer decides as if it alone were enforced. A stack that is enforced changes its own traffic: a throttle spreads the
    /// calls that a concurrency limit counts, a deadline ends waits early, and a retry adds attempts. So enforce one layer after
    /// another, and look at the counts of the others in between.
    ///
    /// [`observe_only`]: ThrottleLayer::observe_only
    /// [`total_wait`]: ObserveOnly::total_wait
    #[must_use]
    pub fn observe_only(mut self, switch: impl Into<ObserveOnly>) -> Self {
        self.observe = Some(switch.into());
        self
    }

    /// The stack as one layer.
    ///
    /// # Errors
    ///
    /// When an attempt may take longer than the whole call.
    pub fn build(mut self) -> Result<StackLayer<P, O, G>, InvalidStack> {
        let (attempt, total) = (self.layers.attempt.timeout(), self.layers.total.timeout());
        if attempt > total {
            return Err(InvalidStack { attempt, total });
        }
        if self.streaming && self.layers.attempt.idle_timeout().is_none() {
            self.layers.attempt = self.layers.attempt.with_idle_timeout(STREAM_IDLE);
        }
        // Here, as settings that came later have replaced whole layers.
        if let Some(header) = self.layers.key.settings().header {
            #[cfg(feature = "dead-letter")]
            if let Some(letters) = self.layers.dead_letter {
                self.layers.dead_letter = Some(letters.with_default_key_header(header.clone()));
            }
            self.layers.retry = self.layers.retry.with_default_key_header(header);
        }
        #[cfg(feature = "tonic")]
        if self.is_grpc {
            let attempt = self.layers.attempt;
            self.layers.attempt =
                attempt.with_default_deadline_header(GRPC_TIMEOUT, DeadlineFormat::Grpc);
            let retry = self.layers.retry;
            self.layers.retry = retry.with_default_classifier(TonicClassifier::new());
        }
        #[cfg(feature = "dead-letter")]
        let closer = Closer::with_letters(self.layers.dead_letter.clone());
        #[cfg(not(feature = "dead-letter"))]
        let closer = Closer::new();
        if let Some(switch) = &self.observe {
            self.layers = self.layers.observe_only(switch);
        }
        Ok(StackLayer {
            layers: self.layers,
            streaming: self.streaming,
            observe: self.observe,
            outer: self.outer,
            closer,
        })
    }
}

/// How long a stream may be silent.
const STREAM_IDLE: Duration = Duration::from_secs(60);

#[cfg(feature = "tonic")]
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// In flight per origin.
const IN_FLIGHT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(127);

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}
