use http::{Method, Request};

use super::*;
use courteous_core::RequestView;

const MINUTE: Duration = Duration::from_secs(60);

fn target(path: &str) -> Target {
    let request = Request::builder().method(Method::GET);
    let request = request.uri(format!("https://api.example{path}"));
    Target::of(RequestView::of(&request.body(()).unwrap()))
}

fn name(name: &str) -> QuotaName {
    QuotaName::new(target("/"), &[Some(name)])
}

fn closed(quotas: &Quotas, path: &str, now: Instant) -> Option<Duration> {
    let until = quotas.closed_until(Some(target(path)), now)?;
    Some(until.duration_since(now))
}

#[test]
fn a_used_up_quota_holds_up_what_is_known_to_count_against_it() {
    let now = Instant::now();
    let mut quotas = Quotas::new();
    quotas.hear(target("/core"), &[ToldQuota::named(name("core"))], now);
    assert!(quotas.is_quiet());
    let used_up = ToldQuota::used_up(name("search"), now + MINUTE);
    quotas.hear(target("/search"), &[used_up], now);
    quotas.hear(
        target("/search/2"),
        &[ToldQuota::named(name("search"))],
        now,
    );
    assert!(!quotas.is_quiet());
    for path in ["/search", "/search/2"] {
        assert_eq!(closed(&quotas, path, now), Some(MINUTE), "{path}");
        assert_eq!(closed(&quotas, path, now + MINUTE), None, "{path}");
    }
    for path in ["/core", "/unknown"] {
        assert_eq!(closed(&quotas, path, now), None, "{path}");
    }
    assert_eq!(quotas.closed_until(None, now), None);
    quotas.settle(now + MINUTE);
    assert!(quotas.is_quiet());
}

#[test]
fn a_refusal_holds_up_the_unknown_too_but_not_what_counts_elsewhere() {
    let now = Instant::now();
    let mut quotas = Quotas::new();
    quotas.hear(target("/core"), &[ToldQuota::named(name("core"))], now);
    let refused = ToldQuota::refused(name("search"), now + MINUTE);
    quotas.hear(target("/search"), &[refused], now);
    assert_eq!(closed(&quotas, "/search", now), Some(MINUTE));
    assert_eq!(closed(&quotas, "/unknown", now), Some(MINUTE));
    assert_eq!(quotas.closed_until(None, now), Some(now + MINUTE));
    assert_eq!(closed(&quotas, "/core", now), None);
    assert_eq!(closed(&quotas, "/unknown", now + MINUTE), None);
}

#[test]
fn the_last_answer_says_what_a_target_counts_against() {
    let now = Instant::now();
    let mut quotas = Quotas::new();
    quotas.hear(
        target("/a"),
        &[ToldQuota::used_up(name("one"), now + MINUTE)],
        now,
    );
    quotas.hear(target("/a"), &[], now);
    assert_eq!(closed(&quotas, "/a", now), Some(MINUTE), "nothing was said");
    quotas.hear(target("/a"), &[ToldQuota::named(name("two"))], now);
    assert_eq!(closed(&quotas, "/a", now), None);
    quotas.hear(target("/b"), &[ToldQuota::named(name("one"))], now);
    assert_eq!(closed(&quotas, "/b", now), Some(MINUTE));
}

#[test]
fn of_many_quotas_of_one_target_the_used_up_ones_count_first() {
    let now = Instant::now();
    let mut quotas = Quotas::new();
    let mut told: Vec<_> = (0..9)
        .map(|n| ToldQuota::named(name(&n.to_string())))
        .collect();
    told.push(ToldQuota::used_up(name("last"), now + MINUTE));
    quotas.hear(target("/a"), &told, now);
    assert_eq!(closed(&quotas, "/a", now), Some(MINUTE));
}

#[test]
fn a_shorter_word_does_not_open_a_quota_early() {
    let now = Instant::now();
    let mut quotas = Quotas::new();
    for wait in [2 * MINUTE, MINUTE] {
        quotas.hear(
            target("/a"),
            &[ToldQuota::refused(name("q"), now + wait)],
            now,
        );
    }
    assert_eq!(closed(&quotas, "/a", now), Some(2 * MINUTE));
    assert_eq!(closed(&quotas, "/b", now), Some(2 * MINUTE));
}

#[test]
fn the_least_recent_of_a_thousand_targets_goes() {
    let now = Instant::now();
    let mut quotas = Quotas::new();
    let told = [ToldQuota::used_up(name("q"), now + MINUTE)];
    for n in 0..=1_000 {
        quotas.hear(target(&format!("/{n}")), &told, now);
    }
    assert_eq!(closed(&quotas, "/0", now), None);
    assert_eq!(closed(&quotas, "/1", now), Some(MINUTE));
    assert_eq!(closed(&quotas, "/1000", now), Some(MINUTE));
}

#[test]
fn what_is_left_is_spread_over_the_sends_that_count_against_it() {
    let now = Instant::now();
    let mut quotas = KnownQuotas::new();
    quotas.hear(target("/a"), &[ToldQuota::left(name("q"), 6, MINUTE)], now);
    let (known, unknown) = (Some(target("/a")), Some(target("/b")));
    for n in 0..6 {
        assert_eq!(quotas.turn(known, now), Some(now + n * MINUTE / 6));
        quotas.spend(known, 1, now);
    }
    quotas.unspend(known, 1);
    assert_eq!(quotas.turn(known, now), Some(now + 5 * MINUTE / 6));
    assert_eq!(quotas.turn(unknown, now), None);
    assert_eq!(quotas.turn(known, now + MINUTE), None);
    assert_eq!(quotas.closed_until(known, now), None);
}
