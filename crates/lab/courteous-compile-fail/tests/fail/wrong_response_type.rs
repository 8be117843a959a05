use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::Request;
use tower::Service;

#[derive(Clone)]
struct Client;

impl Service<Request<String>> for Client {
    type Response = String;
    type Error = Infallible;
    type Future = Ready<Result<String, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        ready(Ok(Default::default()))
    }
}

fn main() {
    courteous::check::<String, _>(Client);
}
