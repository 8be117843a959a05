//! A reqwest client under the stack. The client stays a reqwest client, and an order that meets a
//! 503 is still placed, once.
//!
//! ```text
//! cargo run --example reqwest_client
//! ```

mod common;

use std::{
    error::Error,
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, routing::post};
use courteous::{IdempotencyKeyLayer, ReqwestService, RetryInfo, Stack};
use http::{HeaderMap, HeaderValue, Request, StatusCode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shop = Shop::default();
    let server = common::serve(shop.router()).await?;

    // One attempt must be one request, or the limits do not see what is sent. So reqwest makes no
    // retries of its own. It also has no timeout of its own, as the stack could not tell that
    // timeout's error from a server's silence.
    let reqwest = reqwest::Client::builder()
        .user_agent("courteous-example")
        .retry(reqwest::retry::never())
        .build()?;
    let client = Stack::new()
        .with_idempotency_key(IdempotencyKeyLayer::new().with_hosts([server.to_string()])?)
        .build()?
        .layer(ReqwestService::new(reqwest));

    let order = Request::post(format!("http://{server}/orders")).body("3 apples".into())?;
    let response = client.send(order).await?;
    let attempts = RetryInfo::of(&response).attempts();

    // Back to a response of reqwest's type, with all its methods. Permits and deadlines stay with
    // the body.
    let response = reqwest::Response::from(response.map(reqwest::Body::wrap));
    let status = response.status();
    println!(
        "{status} after {attempts} attempts: {}",
        response.text().await?
    );
    assert_eq!((status, attempts), (StatusCode::CREATED, 2));

    let keys = shop.keys();
    println!("the keys that the shop saw: {keys:?}");
    assert!(keys.len() == 2 && keys[0] == keys[1]);

    // What reqwest says of a failure is still there, inside the stack's one error type.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let request = Request::get(format!("http://{nobody}/")).body("".into())?;
    let error = client.send(request).await.err().ok_or("nobody listens")?;
    let cause = error.find::<reqwest::Error>().ok_or("reqwest says why")?;
    println!("{error}: {cause}");
    assert!(cause.is_connect() && !error.is_timeout());
    Ok(())
}

/// Remembers the idempotency key of each request, and fails the first request.
#[derive(Clone, Debug, Default)]
struct Shop(Arc<Mutex<Vec<HeaderValue>>>);

impl Shop {
    fn router(&self) -> Router {
        let shop = self.clone();
        let order = async move |headers: HeaderMap, order: String| {
            let mut keys = shop.0.lock().unwrap_or_else(PoisonError::into_inner);
            keys.extend(headers.get("idempotency-key").cloned());
            match keys.len() {
                1 => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
                _ => (StatusCode::CREATED, format!("you will get {order}")),
            }
        };
        Router::new().route("/orders", post(order))
    }

    fn keys(&self) -> Vec<HeaderValue> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
