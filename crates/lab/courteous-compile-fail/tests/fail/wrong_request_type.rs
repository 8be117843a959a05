use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::Response;
use tower::Service;

/// The request of some library.
struct Request;

#[derive(Clone)]
struct Client;

impl Service<Request> for Client {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Ok(Default::default()))
    }
}

fn main() {
    courteous::check::<String, _>(Client);
}
