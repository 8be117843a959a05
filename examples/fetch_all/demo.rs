//! Two hosts to try the example on: one fails now and then, and the other asks for a pause once.

use std::{
    collections::HashSet,
    fmt::Write,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::RETRY_AFTER};
use tokio::net::TcpListener;

const PAGES: u32 = 20;

/// Starts the hosts, and lists their pages.
pub(crate) async fn start() -> io::Result<String> {
    let mut list = String::from("# two hosts on the loopback interface\n");
    for page in [sick, strict] {
        let host = serve(page).await?;
        for number in 1..=PAGES {
            // Writing to a `String` cannot fail.
            let _ = writeln!(list, "http://{host}/pages/{number}");
        }
    }
    Ok(list)
}

/// Each fourth page fails at first.
fn sick(page: u32, at_first: bool) -> Response {
    match page % 4 {
        0 if at_first => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => "a page\n".repeat(1000).into_response(),
    }
}

/// The fifth page is one request too many.
fn strict(page: u32, at_first: bool) -> Response {
    match page {
        5 if at_first => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response(),
        _ => "another page\n".repeat(100).into_response(),
    }
}

/// Starts a host whose pages `page` makes. `page` gets the number, and whether this is the first
/// request for it.
async fn serve(page: fn(u32, bool) -> Response) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let asked = Arc::new(Mutex::new(HashSet::new()));
    let handler = get(async move |Path(number): Path<u32>| {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        page(number, asked.insert(number))
    });
    let router = Router::new().route("/pages/{number}", handler);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}
