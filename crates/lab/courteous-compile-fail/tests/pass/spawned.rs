//! Calls in `async` blocks that have to be `Send`, as those that are spawned.
//!
//! The compiler forgets, while it checks such a block, that the `BoxError` in the name of a type is `'static`
//! (rust-lang/rust#110338), and says that an "implementation of `From` is not general enough", or of `Service`. Here is what
//! works in spite of that.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use courteous::{AnyBody, BoxError, Courteous, Error, Stack, retry::RetryLayer};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};

/// Names `BoxError`.
type BoxedBody = UnsyncBoxBody<Bytes, BoxError>;
/// Names `BoxError`.
type BoxedClient = BoxCloneSyncService<Request<String>, Response<String>, BoxError>;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Nothing names `BoxError`: all shapes work.
fn a_body_that_does_not_tell_what_is_in_it() {
    let request = || Request::new(AnyBody::new(Full::<Bytes>::default()));
    let client = stack(hyper());
    is_send(async move { client.oneshot(request()).await });
    let mut client = stack(hyper());
    is_send(async move { client.ready().await?.call(request()).await });
    let mut client = RetryLayer::new().layer(hyper());
    is_send(async move { client.ready().await?.call(request()).await });

    async fn send(client: Courteous<Client<HttpConnector, AnyBody>>) -> Result<(), Error> {
        client.oneshot(Request::default()).await.map(drop)
    }
    is_send(send(stack(hyper())));
}

/// So does a client that has a name of its own.
fn a_client_with_a_name_of_its_own() {
    #[derive(Clone)]
    struct Named(BoxedClient);

    impl Service<Request<String>> for Named {
        type Response = Response<String>;
        type Error = BoxError;
        type Future = <BoxedClient as Service<Request<String>>>::Future;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Request<String>) -> Self::Future {
            self.0.call(request)
        }
    }

    let client = stack(Named(leaf()));
    is_send(async move { client.oneshot(Request::default()).await });
}

/// `send` works in all shapes, with a body that names `BoxError` and with a client that does.
fn a_sent_call() {
    let client = stack(hyper());
    is_send(async move { client.send(Request::new(BoxedBody::default())).await });
    let client = stack(leaf());
    is_send(async move { client.send(Request::default()).await });

    async fn send(client: &Courteous<Client<HttpConnector, BoxedBody>>) -> Result<Bytes, Error> {
        let response = client.send(Request::new(BoxedBody::default())).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }
    is_send(async { send(&stack(hyper())).await });

    let client = stack(hyper()).boxed();
    is_send(async move { client.send(Request::new(BoxedBody::default())).await });
}

/// A client that is not `Send` is called.
fn a_client_that_is_not_send() {
    let here = std::rc::Rc::new(());
    let client = stack(tower::service_fn(move |request: Request<String>| {
        let here = here.clone();
        async move {
            drop(here);
            Ok::<_, BoxError>(Response::new(request.into_body()))
        }
    }));
    let _ = client.oneshot(Request::default());
}

fn a_future_that_is_no_block() {
    is_send(stack(hyper()).oneshot(Request::new(BoxedBody::default())));
    is_send(stack(leaf()).oneshot(Request::default()));
}

fn a_boxed_future() {
    is_send(async {
        let response: Boxed<Result<_, Error>> =
            Box::pin(stack(hyper()).oneshot(Request::new(BoxedBody::default())));
        response.await
    });
    is_send(async {
        let response: Boxed<Result<_, Error>> = Box::pin(stack(leaf()).oneshot(Request::default()));
        response.await
    });
}

/// With the requests' type in its name, a boxed stack helps with clients only, not with bodies.
fn a_boxed_stack() {
    let client = BoxCloneSyncService::new(stack(leaf()));
    is_send(async move { client.oneshot(Request::default()).await });
}

fn a_generic_function() {
    async fn send<S, B>(client: S, request: Request<B>) -> Result<S::Response, S::Error>
    where
        S: Service<Request<B>>,
    {
        client.oneshot(request).await
    }
    is_send(send(stack(hyper()), Request::new(BoxedBody::default())));
    is_send(send(stack(leaf()), Request::default()));
}

fn stack<S>(client: S) -> Courteous<S> {
    Stack::new().build().unwrap().layer(client)
}

fn hyper<B: http_body::Body<Data = Bytes> + Send>() -> Client<HttpConnector, B> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn leaf() -> BoxedClient {
    BoxCloneSyncService::new(tower::service_fn(async |request: Request<String>| {
        Ok(Response::new(request.into_body()))
    }))
}

fn is_send<F: Future + Send + 'static>(_: F) {}

fn main() {
    a_body_that_does_not_tell_what_is_in_it();
    a_client_with_a_name_of_its_own();
    a_sent_call();
    a_client_that_is_not_send();
    a_future_that_is_no_block();
    a_boxed_future();
    a_boxed_stack();
    a_generic_function();
}
