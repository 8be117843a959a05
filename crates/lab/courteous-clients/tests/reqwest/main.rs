//! reqwest's requests through a stack, by `send_through` and as a middleware, over real sockets.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod middleware;
mod send_through;
mod shop;

use courteous::{Courteous, Stack, reqwest::ReqwestService};
use courteous_testing::Answer;

/// The standard stack, around a client that no test may reach: it trusts a proxy that is not there.
fn polite() -> Courteous<ReqwestService> {
    let proxy = reqwest::Proxy::all("http://127.0.0.1:1").unwrap();
    let other = reqwest::Client::builder().proxy(proxy).build().unwrap();
    Stack::new().build().unwrap().layer(other.into())
}

fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().user_agent("own");
    builder
        .cookie_store(true)
        .retry(reqwest::retry::never())
        .build()
        .unwrap()
}

/// A refusal that may be repeated at once.
fn busy() -> Answer {
    Answer::status(503).header("retry-after", "0")
}

/// A URL where nothing listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}
