#![doc = include_str!("../README.md")]

mod fields;
mod hints;
mod http_date;
mod moment;
mod number;
mod pushback;
mod quota;
mod reading;
mod reset;
mod structured;

pub use hints::Hints;
pub use pushback::Pushback;
pub use quota::Quota;
