#![doc = include_str!("../README.md")]

mod base64;
mod fields;
mod hints;
mod http_date;
mod moment;
mod number;
mod protobuf;
mod pushback;
mod quota;
mod quota_scope;
mod reading;
mod reset;
mod retry_after;
mod retry_info;
mod structured;

pub use hints::Hints;
pub use http_date::{parse_http_date, parse_http_date_strictly};
pub use pushback::Pushback;
pub use quota::Quota;
pub use quota_scope::QuotaScope;
