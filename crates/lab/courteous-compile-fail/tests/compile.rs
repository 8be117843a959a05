//! What compiles, and what the compiler says of what does not.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

use std::{env, fs, path::Path, process::Command};

/// The compiler whose words the `.stderr` files hold: others put the same notes in other words around.
const BLESSED: &str = "rustc 1.95.0 ";

/// Each case that must not compile, and what has to be said of it.
const REMEDIES: [(&str, &str); 8] = [
    ("body_not_replayable", "or any body put into an `AnyBody`"),
    (
        "body_not_replayable_by_retry",
        "or any body put into an `AnyBody`",
    ),
    (
        "dead_letter_outside_the_key",
        "call `.dead_letter(..)` directly after `.idempotency_key(..)`",
    ),
    ("error_not_into_box_error", "implement `std::error::Error"),
    (
        "inner_not_clone",
        "derive `Clone` for it, or put `tower::buffer::Buffer` around it",
    ),
    (
        "wrong_body_type",
        "its request must be `http::Request<String>`, with just that type of body",
    ),
    (
        "wrong_request_type",
        "by `courteous::reqwest::ReqwestService`",
    ),
    (
        "wrong_response_type",
        "its response must be `http::Response<_>`",
    ),
];

#[test]
fn what_does_not_compile_says_what_to_do() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    if is_blessed() {
        cases.compile_fail("tests/fail/*.rs");
    }
}

#[test]
fn every_error_names_its_remedy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fail");
    for (case, remedy) in REMEDIES {
        let stderr = fs::read_to_string(folder.join(case).with_extension("stderr")).unwrap();
        let said = stderr.lines().any(|line| line.contains(remedy));
        assert!(said, "{case}: {stderr}");
    }
    let cases = fs::read_dir(folder).unwrap();
    let cases = cases.filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "rs");
    assert_eq!(cases.count(), REMEDIES.len());
}

fn is_blessed() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8(version.stdout)
        .unwrap()
        .starts_with(BLESSED)
}
