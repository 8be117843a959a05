//! A reqwest client under the stack. The client stays a reqwest client, and an order that meets a
//! 503 is still placed, once.
//!
//! ```text
//! cargo run --example reqwest_client
//! ```

use std::{error::Error, net::TcpListener};

use courteous::{
    Stack, idempotency::IdempotencyKeyLayer, reqwest::ReqwestService, retry::RetryInfo,
};
use courteous_testing::{Answer, Script};
use http::{Request, StatusCode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // In earnest: a shop on the internet. This one fails at first.
    let created = Answer::status(201).body("you will get 3 apples");
    let shop = Script::new([Answer::status(503), created]).serve().await?;

    // One attempt must be one request, or the limits do not see what is sent. So reqwest makes no
    // retries of its own. It also has no timeout of its own, as the stack could not tell that
    // timeout's error from a server's silence.
    let reqwest = reqwest::Client::builder()
        .user_agent("courteous-example")
        .retry(reqwest::retry::never())
        .build()?;
    let client = Stack::new()
        .with_idempotency_key(IdempotencyKeyLayer::new().with_hosts([shop.address().to_string()])?)
        .build()?
        .layer(ReqwestService::new(reqwest));

    let order = Request::post(shop.url("/orders")).body("3 apples".into())?;
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

    let orders = shop.calls();
    println!("what the shop saw:\n{orders}");
    assert_eq!((orders.len(), orders[1].body()), (2, &b"3 apples"[..]));
    assert!(orders[0].key().is_some() && orders[0].key() == orders[1].key());

    // What reqwest says of a failure is still there, inside the stack's one error type.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let request = Request::get(format!("http://{nobody}/")).body("".into())?;
    let error = client.send(request).await.err().ok_or("nobody listens")?;
    let cause = error.find::<reqwest::Error>().ok_or("reqwest says why")?;
    println!("{error}: {cause}");
    assert!(cause.is_connect() && !error.is_timeout());
    Ok(())
}
