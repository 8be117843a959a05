//! The promises of a replay: what it sends, what it does not, and what becomes of the records.

mod at_least_once;
mod dry_run;
mod outcomes;
mod secrets;
mod selection;
mod support;
