//! Which types can go where: checked by the compiler alone.

use std::{
    cell::Cell,
    convert::Infallible,
    fmt::Debug,
    future::{Ready, ready},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use courteous_core::BoxError;
use courteous_timeout::{
    AttemptTimeout, AttemptTimeoutLayer, DeadlineBody, ReadyCall, ResponseFuture, TotalTimeout,
    TotalTimeoutLayer,
};
use http::{HeaderName, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio_test::{assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, util::BoxCloneSyncService};

type Bytes = &'static [u8];

#[derive(Clone, Debug)]
struct Client;

impl<R> Service<R> for Client {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

#[test]
fn all_that_the_inner_types_are_goes_through() {
    fn all<T: Send + Sync + Unpin + Clone + Debug + 'static>(_: &T) {}
    fn future<T: Send + Sync + Debug + 'static>(_: &T) {}
    fn body<T: Send + Sync + Unpin + Default + Debug + 'static>(_: &T) {}

    all(&TotalTimeoutLayer::new(Duration::ZERO));
    all(&AttemptTimeoutLayer::new(Duration::ZERO));
    let mut total = TotalTimeoutLayer::new(Duration::MAX).layer(Client);
    let mut attempt = AttemptTimeoutLayer::new(Duration::MAX).layer(Client);
    all(&total);
    all(&attempt);
    future(&total.call(Request::new(())));
    future(&attempt.call(Request::new(Full::<Bytes>::default())));
    body(&DeadlineBody::<Full<Bytes>>::default());
}

#[test]
fn the_types_can_be_named() {
    type Stack<S> = TotalTimeout<AttemptTimeout<S>>;
    fn stack<S>(inner: S) -> Stack<S> {
        let attempt = AttemptTimeoutLayer::new(Duration::from_secs(1));
        TotalTimeoutLayer::new(Duration::from_secs(5)).layer(attempt.layer(inner))
    }
    type Call<S, B, F> =
        ResponseFuture<ReadyCall<AttemptTimeout<S>, Request<B>, ResponseFuture<F>>>;
    fn call<S, B>(service: &mut Stack<S>, request: Request<B>) -> Call<S, B, S::Future>
    where
        S: Service<Request<B>, Response = Response<Full<Bytes>>, Error: Into<BoxError>> + Clone,
        B: Body,
    {
        service.call(request)
    }
    let mut call = task::spawn(call(
        &mut stack(Client),
        Request::new(Full::<Bytes>::default()),
    ));
    let body: DeadlineBody<DeadlineBody<Full<Bytes>>> = assert_ready_ok!(call.poll()).into_body();
    drop(body);
}

#[test]
fn a_stack_can_be_boxed_with_bodies_that_are_not_sync() {
    let service = ServiceBuilder::new()
        .layer(TotalTimeoutLayer::new(Duration::MAX))
        .layer(AttemptTimeoutLayer::new(Duration::MAX).with_grpc_timeout())
        .service(Client);
    let service: BoxCloneSyncService<_, _, BoxError> = BoxCloneSyncService::new(service);
    let mut call = task::spawn(service.clone().call(Request::new(Full::<Bytes>::default())));
    let response = assert_ready_ok!(call.poll());
    let _: UnsyncBoxBody<Bytes, BoxError> = response.into_body().boxed_unsync();
}

#[test]
fn nothing_has_to_be_send_or_static() {
    struct Local<'a>(&'a Rc<Cell<u32>>);
    impl Clone for Local<'_> {
        fn clone(&self) -> Self {
            Self(self.0)
        }
    }
    impl<'a> Service<Request<Full<&'a [u8]>>> for Local<'a> {
        type Response = Response<Full<Bytes>>;
        type Error = BoxError;
        type Future = Ready<Result<Self::Response, BoxError>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Full<&'a [u8]>>) -> Self::Future {
            self.0.set(self.0.get() + 1);
            ready(Ok(Response::default()))
        }
    }
    let calls = Rc::default();
    let body = String::from("borrowed");
    let mut service = ServiceBuilder::new()
        .layer(TotalTimeoutLayer::new(Duration::MAX))
        .layer(AttemptTimeoutLayer::new(Duration::MAX))
        .service(Local(&calls));
    let mut call = task::spawn(service.call(Request::new(Full::new(body.as_bytes()))));
    assert_ready_ok!(call.poll());
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_layer_can_be_made_in_a_constant() {
    const TOTAL: TotalTimeoutLayer = TotalTimeoutLayer::new(Duration::from_secs(5));
    const ATTEMPT: AttemptTimeoutLayer = AttemptTimeoutLayer::new(Duration::from_secs(1));
    assert_eq!(TOTAL.timeout(), Duration::from_secs(5));
    assert_eq!(ATTEMPT.timeout(), Duration::from_secs(1));
    let name = HeaderName::from_static("x-time-left");
    let _ = ATTEMPT.with_deadline_header(name, courteous_timeout::DeadlineFormat::Seconds);
}

#[cfg(feature = "load")]
#[test]
fn the_load_is_the_inner_services() {
    use tower::load::{Constant, Load};

    let total = TotalTimeoutLayer::new(Duration::MAX).layer(Constant::new(Client, 7));
    assert_eq!(total.load(), 7);
    let attempt = AttemptTimeoutLayer::new(Duration::MAX).layer(Constant::new(Client, 7));
    assert_eq!(attempt.load(), 7);
}
