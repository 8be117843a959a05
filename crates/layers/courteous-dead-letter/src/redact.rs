//! Removes secrets from a letter: from its header fields, its target, its tags, the texts of its
//! errors, and its body.

mod body_scrubber;
mod query;
mod scrub;
mod secrecy;
mod secret_names;
mod secret_values;
mod secret_words;

pub use self::body_scrubber::BodyScrubber;
pub(crate) use self::{
    query::{encode, normal_name},
    scrub::Scrubber,
    secrecy::{Secrecy, fill_uri},
};
