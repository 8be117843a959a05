//! The guide's recipes for kube and octocrab, and a service on reqwest that is ported twice. The tests here run each against a server on 127.0.0.1.
//!
//! A crate apart: these clients are slow to build, and no part of the workspace's main job.

#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "recipes, which the guide explains"
)]

pub mod kube_recipe;
pub mod octocrab_recipe;
pub mod shop;
