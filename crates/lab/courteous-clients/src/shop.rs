//! A small service on `reqwest::Client`, and the same one ported twice. The guide shows the differences.

pub mod before;
pub mod by_middleware;
pub mod by_send_through;
