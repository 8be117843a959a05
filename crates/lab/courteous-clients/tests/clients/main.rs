//! The guide's recipes for kube and octocrab, run against a server on 127.0.0.1.

#![allow(clippy::unwrap_used, reason = "a check that fails panics")]

mod github;
mod kubernetes;
mod pages;
mod server;
