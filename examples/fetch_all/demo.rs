//! Two hosts to try the example on: one fails now and then, and the other asks for a pause once.

use std::{fmt::Write, io, time::Duration};

use courteous_testing::{Answer, Script, ScriptServer};
use http::Method;

const PAGES: u32 = 20;

/// Starts the hosts, and lists their pages. They stop when they are dropped.
pub(crate) async fn start() -> io::Result<(String, [ScriptServer; 2])> {
    let hosts = [sick().serve().await?, strict().serve().await?];
    let mut list = String::from("# two hosts on the loopback interface\n");
    for host in &hosts {
        for number in 1..=PAGES {
            // Writing to a `String` cannot fail.
            let _ = writeln!(list, "{}", host.url(&path(number)));
        }
    }
    Ok((list, hosts))
}

/// Each fourth page fails at first.
fn sick() -> Script {
    let page = Answer::ok().body("a page\n".repeat(1000));
    let fourth = Script::new([503]).then_repeat(page.clone());
    let pages = Script::always(page);
    (4..=PAGES).step_by(4).fold(pages, |pages, number| {
        pages.on(Method::GET, &path(number), fourth.clone())
    })
}

/// The fifth page is one request too many.
fn strict() -> Script {
    let page = Answer::ok().body("another page\n".repeat(100));
    let busy = Answer::status(429).retry_after(Duration::from_secs(1));
    let fifth = Script::new([busy]).then_repeat(page.clone());
    Script::always(page).on(Method::GET, &path(5), fifth)
}

fn path(number: u32) -> String {
    format!("/pages/{number}")
}
