use std::{
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use courteous_concurrency::{self as concurrency, ConcurrencyLimitLayer};
use courteous_core::{BoxError, InvalidSettings, LongLived};
use courteous_idempotency::RandomUuid;
use courteous_limit::Partition;
use courteous_retry::Budget;
use courteous_throttle::PerOrigin;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
#[cfg(feature = "dead-letter")]
use tower::util::Either;
use tower_service::Service;

use super::{
    Settings, Snapshot,
    layers::{Gated, Layered, Limited, Timed},
    snapshot::Handles,
};
use crate::{
    BoxClient, Error,
    client::{Closer, ResponseBody, ResponseFuture, Unfinished, sending::Sending},
};

/// A client with the whole stack around it: what [`StackLayer`](crate::stack::StackLayer) makes.
///
/// [`send`](Self::send) sends a request. The type is short enough for a field:
///
/// ```
/// use courteous::{AnyBody, Courteous, Error};
/// use http::{Request, StatusCode};
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
///
/// struct Weather {
///     client: Courteous<Client<HttpConnector, AnyBody>>,
/// }
///
/// impl Weather {
///     async fn is_up(&self) -> Result<bool, Error> {
///         let mut request = Request::new(AnyBody::empty());
///         *request.uri_mut() = http::Uri::from_static("http://weather.example/health");
///         Ok(self.client.send(request).await?.status() == StatusCode::OK)
///     }
/// }
/// ```
///
/// A [`BoxClient`], which [`boxed`](Self::boxed) makes, does not name the client, and can be a mock.
///
/// # Readiness
///
/// Always ready: the client's readiness is waited for inside of the call, where the total timeout covers it.
///
/// # Cancel safety
///
/// Dropping the response future, or later the response's body, ends the call and gives back all that it held.
///
/// # Errors
///
/// [`Error`], if the last attempt had no response. A response is returned as it is, whatever its status.
#[derive(Clone)]
pub struct Courteous<S, P = PerOrigin, G = RandomUuid> {
    inner: Layered<S, P, G>,
    streaming: bool,
}

impl<S, P, G> Courteous<S, P, G> {
    pub(crate) const fn new(inner: Layered<S, P, G>, streaming: bool) -> Self {
        Self { inner, streaming }
    }

    /// Sends a request: clones the client, waits until the clone is ready, and calls it.
    ///
    /// Needs neither `&mut self` nor `tower::ServiceExt`, and the future borrows nothing, so that it can be spawned. The call
    /// begins when the future is first polled. A client that is not `Send`, or whose futures are not, is called by
    /// [`Service::call`], or by `tower::ServiceExt::oneshot`.
    ///
    /// ```
    /// use courteous::{AnyBody, Courteous, Error};
    /// use http::Request;
    /// use hyper_util::client::legacy::{Client, connect::HttpConnector};
    ///
    /// async fn ping(client: &Courteous<Client<HttpConnector, AnyBody>>) -> Result<(), Error> {
    ///     let response = client.send(Request::new(AnyBody::empty())).await?;
    ///     println!("{}", response.status());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error`], if the last attempt had no response. A response is returned as it is, whatever its status.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or later the response's body, ends the call and gives back all that it held.
    pub fn send<B, RB>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<ResponseBody<RB>>, Error>> + Send + use<S, P, G, B, RB>
    where
        Self: Service<Request<B>, Response = Response<ResponseBody<RB>>, Error = Error>
            + Clone
            + Send,
        <Self as Service<Request<B>>>::Future: Send,
        B: Send,
    {
        Sending::new(self.clone(), request)
    }

    /// The client as a [`BoxClient`], whose type names only the body of the requests.
    ///
    /// What reads and changes this client, and what closes it, cannot be reached through a [`BoxClient`]: keep a clone.
    #[must_use]
    pub fn boxed<B, RB>(self) -> BoxClient<B>
    where
        Self: Service<Request<B>, Response = Response<RB>, Error = Error>
            + Clone
            + Send
            + Sync
            + 'static,
        <Self as Service<Request<B>>>::Future: Send,
        B: Send + 'static,
        RB: Body<Data = Bytes, Error = Error> + Send + 'static,
    {
        BoxClient::new(self)
    }

    /// Rejects new calls from now on, then waits until those in flight have ended, to the end of their response bodies, and
    /// their dead letters are durable, or until `deadline`.
    ///
    /// It closes all clones of this client, and all clients of the same [`StackLayer`](crate::stack::StackLayer). A new call fails with
    /// [`Rejected`](crate::core::Rejected) for [`ShuttingDown`](crate::core::RejectReason::ShuttingDown); it is not sent, and a dead letter
    /// layer keeps it. See [`Closer::close`] for more, and the module [`close`](crate::client::close).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use courteous::Courteous;
    /// use tokio::time::Instant;
    ///
    /// # async fn end<C: Clone>(client: Courteous<C>) {
    /// // After SIGTERM, and after the server's own graceful shutdown:
    /// let deadline = Instant::now() + Duration::from_secs(10);
    /// if let Err(unfinished) = client.close(deadline).await {
    ///     eprintln!("{unfinished}"); // "2 calls still in flight at the deadline of the close"
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unfinished`], at the deadline, with the number of the calls still in flight. They are left alone.
    ///
    /// # Panics
    ///
    /// If it has to wait on a Tokio runtime without its time driver. The runtime may be another one than that of the calls; without
    /// any, the future is polled again and again.
    ///
    /// # Cancel safety
    ///
    /// The client is closed when this returns. Dropping the future leaves it closed.
    pub fn close(
        &self,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), Unfinished>> + Send + use<S, P, G> {
        self.closer().close(deadline)
    }

    /// The handle that closes this client, and tells how many calls are in flight: for a task that does not have the client.
    #[must_use]
    pub const fn closer(&self) -> &Closer {
        self.gate().closer()
    }

    /// The client.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        self.limited().get_ref().get_ref().get_ref()
    }

    /// The client, without the stack.
    #[must_use]
    pub fn into_inner(self) -> S {
        let gated = self.inner.into_inner();
        #[cfg(feature = "dead-letter")]
        let gated = match gated {
            Either::Left(recorded) => recorded.into_inner(),
            Either::Right(gated) => gated,
        };
        let limited = gated.into_inner().into_inner().into_inner();
        limited.into_inner().into_inner().into_inner()
    }

    const fn gate(&self) -> &Gated<S, P> {
        let gated = self.inner.get_ref();
        #[cfg(feature = "dead-letter")]
        let gated = match gated {
            Either::Left(recorded) => recorded.get_ref(),
            Either::Right(gated) => gated,
        };
        gated
    }

    /// The retry budget: a handle to read.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        self.timed().get_ref().budget()
    }

    /// The concurrency limit: to be read, and changed by [`ConcurrencyLimitLayer::set_limit`].
    #[must_use]
    pub const fn concurrency_limit(&self) -> &ConcurrencyLimitLayer<concurrency::PerOrigin> {
        self.limited().layer()
    }

    /// What the throttle draws on: a handle to read and change.
    #[must_use]
    pub const fn throttle(&self) -> &P {
        self.limited().get_ref().partition()
    }

    const fn timed(&self) -> &Timed<S, P> {
        self.gate().get_ref()
    }

    const fn limited(&self) -> &Limited<S, P> {
        self.timed().get_ref().get_ref()
    }
}

impl<S, P: Partition, G> Courteous<S, P, G> {
    /// What is in force now: for a health check, or a support ticket. See [`Snapshot`].
    ///
    /// Takes one pass over the origins: a few microseconds for a few of them, and some milliseconds for 10,000.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.handles().snapshot()
    }

    /// All settings, as they are now. An unlimited budget has none: given back to another stack, they leave its budget as it is.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.handles().settings
    }

    /// Changes what `settings` state, for every client of this stack, and every call from now on: all of it, or nothing.
    ///
    /// What can be changed in a running client are the throttle's `rates`, the concurrency limit's `limit`, and the retry's
    /// `max_attempts`. Calls that wait for a token or a permit get their new turn. What is stated as it is already is no change.
    ///
    /// A single call may have other timeouts than the client: [`CallTimeout`](courteous_timeout::CallTimeout),
    /// [`PerAttemptTimeout`](courteous_timeout::PerAttemptTimeout).
    ///
    /// # Errors
    ///
    /// [`InvalidSettings`], which names the first setting that cannot be changed or cannot be so.
    ///
    /// ```
    /// use courteous::{Stack, stack::Settings};
    ///
    /// let client = Stack::new().build()?.layer(());
    /// let mut settings = Settings::default();
    /// settings.throttle.rates = Some(vec!["10/s".parse()?]);
    /// client.apply(&settings)?;
    /// assert_eq!(client.snapshot().throttle.unwrap().rates, ["10/s".parse()?]);
    ///
    /// settings.total_timeout = Some(std::time::Duration::from_secs(5));
    /// let error = client.apply(&settings).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "`total_timeout`: this cannot be changed in a running client: build another one",
    /// );
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply(&self, settings: &Settings) -> Result<(), InvalidSettings> {
        self.handles().apply(settings)
    }

    fn handles(&self) -> Handles<'_, P> {
        let (timed, limited) = (self.timed(), self.limited());
        let (retry, throttle) = (timed.get_ref().layer(), limited.get_ref());
        let attempt = throttle.get_ref().layer();
        #[cfg(feature = "dead-letter")]
        let (dead_letter, letter_switch) = match self.inner.get_ref() {
            Either::Left(recorded) => (Some(recorded.snapshot()), recorded.observe_only_switch()),
            Either::Right(_) => (None, None),
        };
        #[cfg(not(feature = "dead-letter"))]
        let (dead_letter, letter_switch) = (None, None::<&courteous_core::ObserveOnly>);
        let retry_switch = retry.observe_only_switch().cloned();
        Handles {
            settings: Settings {
                total_timeout: Some(timed.layer().timeout()),
                attempt_timeout: Some(attempt.timeout()),
                idle_timeout: attempt.idle_timeout(),
                streaming: Some(self.streaming),
                idempotency_key: self.inner.settings(),
                retry: retry.settings(),
                concurrency_limit: limited.layer().settings(),
                throttle: throttle.settings(),
            },
            retry,
            concurrency: limited.layer(),
            throttle: throttle.partition(),
            dead_letter,
            closer: self.closer(),
            switches: vec![
                ("idempotency_key", self.inner.observe_only_switch().cloned()),
                ("dead_letter", letter_switch.cloned()),
                (
                    "total_timeout",
                    timed.layer().observe_only_switch().cloned(),
                ),
                ("retry", retry_switch),
                (
                    "concurrency_limit",
                    limited.layer().observe_only_switch().cloned(),
                ),
                ("throttle", throttle.observe_only_switch().cloned()),
                ("attempt_timeout", attempt.observe_only_switch().cloned()),
            ],
        }
    }
}

impl<S, P, G, B, RB> Service<Request<B>> for Courteous<S, P, G>
where
    Layered<S, P, G>: Service<Request<B>, Response = Response<RB>, Error = BoxError>,
    RB: Body<Error = BoxError>,
{
    type Response = Response<ResponseBody<RB>>;
    type Error = Error;
    type Future = ResponseFuture<<Layered<S, P, G> as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let in_flight = self.closer().enter();
        if self.streaming {
            request.extensions_mut().insert(LongLived);
        }
        ResponseFuture::new(self.inner.call(request), in_flight)
    }
}

impl<S: fmt::Debug, P: fmt::Debug, G> fmt::Debug for Courteous<S, P, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Courteous").field(&self.inner).finish()
    }
}
