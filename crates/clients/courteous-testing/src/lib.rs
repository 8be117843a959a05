#![doc = include_str!("../README.md")]

mod body;

pub use body::TestBody;
