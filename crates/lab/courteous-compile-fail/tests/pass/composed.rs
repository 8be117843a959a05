//! A client of the simplest kind, checked, with all layers around it, in a field without the types of closures.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use courteous::{
    Courteous, ServiceBuilder, ServiceBuilderExt, Stack, check,
    concurrency::ConcurrencyLimitLayer,
    idempotency::{IdempotencyKeyLayer, Key},
    retry::RetryLayer,
    throttle::ThrottleLayer,
    timeout::{AttemptTimeoutLayer, TotalTimeoutLayer},
};
use http::{Request, Response};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

#[derive(Clone)]
struct Client;

impl Service<Request<String>> for Client {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        ready(Ok(Response::new(request.into_body())))
    }
}

struct App {
    api: Courteous<Client>,
}

fn main() {
    let app = App {
        api: Stack::new()
            .build()
            .unwrap()
            .layer(check::<String, _>(Client)),
    };
    // An `async` block takes no turbofish, and is `Send`.
    let _ = is_send(app.api.clone().oneshot(Request::new("hello".to_owned())));
    let _ = is_send(async move {
        let mut api = app.api;
        let response = api.ready().await?.call(Request::new(String::new())).await?;
        Ok::<_, courteous::Error>(response.status())
    });

    let composed = ServiceBuilder::new()
        .idempotency_key(IdempotencyKeyLayer::new())
        .total_timeout(Duration::from_secs(30))
        .retry(RetryLayer::new())
        .concurrency_limit(ConcurrencyLimitLayer::new(64).unwrap())
        .throttle(ThrottleLayer::new("100/s".parse().unwrap()))
        .attempt_timeout(Duration::from_secs(10))
        .service(Client);
    let _ = ServiceBuilder::new()
        .idempotency_key(IdempotencyKeyLayer::new().with_generator(|_| Key::new("1").ok()))
        .total_timeout(TotalTimeoutLayer::new(Duration::from_secs(30)))
        .attempt_timeout(AttemptTimeoutLayer::new(Duration::from_secs(10)).with_grpc_timeout());
    let boxed = BoxCloneSyncService::new(check::<String, _>(composed));
    let _ = is_send(boxed.oneshot(Request::new(String::new())));
}

fn is_send<F: Future + Send + 'static>(future: F) -> F {
    future
}
