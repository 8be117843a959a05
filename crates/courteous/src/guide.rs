#![cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#![doc = include_str!("../docs/README.md")]
//!
//! # How these pages are made
//!
//! Each is a Markdown file in `crates/courteous/docs/`, and its code is compiled by
//! `cargo test -p courteous --all-features --doc`. A page links another one by reference,
//! `[a text][page.md]`, with `[page.md]: page.md` at its end: that is the link on a forge. Here, the
//! definitions in `src/guide/links.md` come first, so they count, and lead to the module. The tests
//! are without them, so that their line numbers are those of the file.

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/architecture.md")]
pub mod architecture {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/hyper.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`Stack`](crate::Stack), [`Courteous`](crate::Courteous),"
)]
#[cfg_attr(
    not(doctest),
    doc = "[`BoxClient`](crate::BoxClient), [`RetryInfo`](crate::retry::RetryInfo)."
)]
pub mod hyper {}

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/testing.md")]
#[cfg_attr(
    not(doctest),
    doc = "In the API: [`Stack`](crate::Stack), [`BoxClient`](crate::BoxClient), [`StopReason`](crate::retry::StopReason)."
)]
pub mod testing {}
