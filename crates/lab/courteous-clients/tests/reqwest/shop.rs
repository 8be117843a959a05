//! The ported service passes on a bad day what the first one passes on a good one.

use std::time::Duration;

use courteous_clients::shop;
use courteous_testing::{Answer, Script, ScriptServer};
use http::Method;

use crate::busy;

/// What a server does first, before it gives the right answer.
type Trouble = fn() -> Vec<Answer>;

fn none() -> Vec<Answer> {
    Vec::new()
}

/// `troubles` before the answers to the five calls.
async fn server(troubles: [Trouble; 5]) -> ScriptServer {
    let [refusals, resets, limits, more_refusals, lost] = troubles;
    let after = |mut trouble: Vec<Answer>, answer: Answer| {
        trouble.push(answer);
        Script::new(trouble)
    };
    let logged_in = Answer::status(204).header("set-cookie", "session=1; Path=/");
    let moved = Answer::status(302).header("location", "/manual.txt");
    let slow = Answer::ok().body("7").after(Duration::from_millis(100));
    let script = Script::new(Vec::<Answer>::new())
        .on(Method::PUT, "/session", after(refusals(), logged_in))
        .on(
            Method::GET,
            "/items",
            after(resets(), Answer::ok().body(r#"["green tea"]"#)),
        )
        .on(
            Method::POST,
            "/orders",
            after(limits(), Answer::status(201).body(r#"{"id":1}"#)),
        )
        .on(
            Method::PUT,
            "/pictures/tea",
            after(more_refusals(), Answer::status(204)),
        )
        .on(Method::GET, "/manual", Script::always(moved))
        .on(
            Method::GET,
            "/manual.txt",
            after(lost(), Answer::ok().body("Boil water.")),
        )
        .on(Method::GET, "/stock/tea", Script::new([slow]))
        .on(Method::GET, "/stock/gold", Script::always(Answer::never()));
    script.serve().await.unwrap()
}

async fn good_day() -> ScriptServer {
    server([none; 5]).await
}

/// Bad days. Each has as much trouble as the retry budget of so small a client pays for.
fn bad_days() -> [[Trouble; 5]; 3] {
    let refused: Trouble = || vec![busy()];
    let reset: Trouble = || vec![Answer::connection_reset()];
    let limited: Trouble = || vec![Answer::status(429).header("retry-after", "0")];
    let closed: Trouble = || vec![Answer::connection_closed()];
    [
        [refused, reset, none, none, none],
        [none, none, limited, refused, none],
        [none, none, none, none, closed],
    ]
}

/// What any of the three does. A macro, as they share no trait.
macro_rules! passes {
    ($shop:ty, $server:expr) => {{
        let server = $server.await;
        let url = format!("http://{}", server.address());
        let shop = <$shop>::new(url, "t0k3n".to_owned()).unwrap();
        shop.log_in("Ada").await.unwrap();
        assert_eq!(shop.find("tea").await.unwrap(), ["green tea"]);
        assert_eq!(shop.order("k1", "tea").await.unwrap()["id"], 1);
        shop.add_picture("tea", b"PNG".to_vec()).await.unwrap();
        let manual = shop.manual().await.unwrap();
        assert_eq!(manual, ("/manual.txt".to_owned(), "Boil water.".to_owned()));
        assert_eq!(shop.stock("tea").await.unwrap(), 7);
        shop.stock("gold").await.unwrap_err();
        assert!(shop.find("coffee").await.is_err(), "the script has ended");

        let calls = server.calls();
        for call in calls.to("/orders").iter() {
            assert_eq!(call.header("authorization"), Some("Bearer t0k3n"));
            assert_eq!(
                (call.key(), call.header("cookie")),
                (Some("k1"), Some("session=1"))
            );
            assert_eq!(call.text(), r#"{"item":"tea"}"#);
        }
        assert_eq!(calls.to("/items")[0].uri(), "/items?q=tea");
        for call in calls.to("/pictures/tea").iter() {
            assert!(call.text().contains("PNG"));
        }
        assert_eq!(calls.to("/stock/gold").len(), 1);
        calls
    }};
}

#[tokio::test]
async fn all_three_pass_on_a_good_day() {
    let calls = passes!(shop::before::Shop, good_day());
    assert_eq!(
        passes!(shop::by_send_through::Shop, good_day()).len(),
        calls.len()
    );
    assert_eq!(
        passes!(shop::by_middleware::Shop, good_day()).len(),
        calls.len()
    );
}

#[tokio::test]
async fn reqwest_alone_fails_on_each_bad_day() {
    for (day, troubles) in bad_days().into_iter().enumerate() {
        let server = server(troubles).await;
        let url = format!("http://{}", server.address());
        let shop = shop::before::Shop::new(url, String::new()).unwrap();
        match day {
            0 => drop((
                shop.log_in("Ada").await.unwrap_err(),
                shop.find("tea").await.unwrap_err(),
            )),
            1 => {
                shop.order("k1", "tea").await.unwrap_err();
                shop.add_picture("tea", Vec::new()).await.unwrap_err();
            }
            _ => drop(shop.manual().await.unwrap_err()),
        }
    }
}

#[tokio::test]
async fn both_ports_pass_on_each_bad_day() {
    for (troubles, repeated) in bad_days().into_iter().zip([2, 2, 1]) {
        let good = passes!(shop::by_send_through::Shop, good_day()).len();
        let calls = passes!(shop::by_send_through::Shop, server(troubles));
        // Where reqwest follows redirects, the whole call begins again.
        let redirects = calls.to("/manual").len() - 1;
        assert_eq!(calls.len(), good + repeated + redirects);
        let others = passes!(shop::by_middleware::Shop, server(troubles));
        assert_eq!(others.len(), calls.len());
    }
}

/// The lines that are in only one of two texts, each with its sign.
fn difference(before: &str, after: &str) -> Vec<String> {
    let only = |sign, of: &str, other: &str| {
        let mut other: Vec<_> = other.lines().map(str::trim).collect();
        let mut only = Vec::new();
        for line in of.lines().map(str::trim) {
            match other.iter().position(|same| *same == line) {
                Some(same) => drop(other.swap_remove(same)),
                None if line.starts_with("//!") => {}
                None => only.push(format!("{sign}{line}")),
            }
        }
        only
    };
    let mut difference = only("-", before, after);
    difference.extend(only("+", after, before));
    difference
}

#[test]
fn the_guide_shows_the_differences() {
    let page = include_str!("../../../../courteous/docs/from_reqwest_middleware.md");
    let without_spaces = |line: &str| match line.split_at_checked(1) {
        Some((sign @ ("-" | "+"), rest)) => format!("{sign}{}", rest.trim()),
        _ => String::new(),
    };
    let shown: Vec<_> = page.lines().map(without_spaces).collect();
    let before = include_str!("../../src/shop/before.rs");
    for after in [
        include_str!("../../src/shop/by_send_through.rs"),
        include_str!("../../src/shop/by_middleware.rs"),
    ] {
        for line in difference(before, after) {
            assert!(shown.contains(&line), "the page does not show `{line}`");
        }
    }
}
