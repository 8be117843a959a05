//! The names at the root of this crate: few, and one module for each layer.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

/// What nearly every user types.
const ITEMS: [&str; 10] = [
    "AnyBody",
    "BoxClient",
    "BoxError",
    "Courteous",
    "Error",
    "ServiceBuilder",
    "ServiceBuilderExt",
    "Stack",
    "check",
    "find_cause",
];

/// All else.
const MODULES: [&str; 15] = [
    "body",
    "classify",
    "client",
    "concurrency",
    "core",
    "dead_letter",
    "guide",
    "idempotency",
    "reqwest",
    "retry",
    "stack",
    "testing",
    "throttle",
    "timeout",
    "tonic",
];

#[test]
fn the_root_has_these_names_and_no_others() {
    let mut expected = [&ITEMS[..], &MODULES[..]].concat();
    expected.sort_unstable();
    assert_eq!(names_of(include_str!("../src/lib.rs")), expected);
}

#[test]
fn the_root_has_at_most_25_names() {
    let names = names_of(include_str!("../src/lib.rs"));
    assert!(names.len() <= 25, "{}: {names:?}", names.len());
}

#[test]
fn names_are_read_from_any_public_item() {
    let source = "pub mod a; pub use b::{self as c, d::{E, F as G}, H}; pub use i as j; use k::L;
        pub(crate) use m::N; pub fn o() {} pub struct P; pub const Q: () = (); mod r; pub use s::T;";
    let names = ["E", "G", "H", "P", "Q", "T", "a", "c", "j", "o"];
    assert_eq!(names_of(source), names);
}

/// The names of a file's public items, with all features on, sorted.
fn names_of(source: &str) -> Vec<String> {
    let lines = source.lines().map(str::trim_start);
    let code: String = lines
        .filter(|line| !line.starts_with("//") && !line.starts_with("#["))
        .flat_map(|line| [line, " "])
        .collect();
    let mut names = Vec::new();
    for (at, _) in code.match_indices("pub ") {
        let item = &code[at + "pub ".len()..];
        match item.strip_prefix("use ") {
            Some(tree) => names.extend(used(tree.split(';').next().unwrap())),
            None => names.extend(words(item).nth(1).map(str::to_owned)),
        }
    }
    names.sort_unstable();
    names
}

/// The names that the tree of a `use` brings: of each leaf the last, which is its alias if it has one.
fn used(tree: &str) -> Vec<String> {
    let leaves = tree.split([',', '{', '}']);
    let leaves = leaves.filter(|leaf| !leaf.trim().is_empty() && !leaf.trim().ends_with("::"));
    leaves
        .map(|leaf| words(leaf).last().unwrap().to_owned())
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.filter(|word| !word.is_empty())
}
