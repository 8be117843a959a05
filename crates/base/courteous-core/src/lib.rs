//! The words that courteous layers share, so that they need not know each other.
//!
//! A layer that has something to say to another one puts a value of this crate into the extensions of a request or a
//! response, or into the chain of an error:
//!
//! ```text
//!            outer layers                                     inner layers
//!  request   CallContext { deadline, attempt, call id }  -->  read it, tighten it
//!            CallRecord  <------------------------------------  what was unusual: waits, rejections, retries
//!  response  <--------------------------------------------  Gate { opens_at }
//!  error     <----------------  Rejected, Elapsed, Classified, found with find_cause
//! ```
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use courteous_core::{BoxError, CallContext, Elapsed, Scope, find_cause};
//! use http::Request;
//! use tokio::time::Instant;
//!
//! // The earliest deadline wins, however deep the layers are nested.
//! let now = Instant::now();
//! let mut request = Request::new(());
//! CallContext::edit(request.extensions_mut()).tighten(now + Duration::from_secs(5));
//! CallContext::edit(request.extensions_mut()).tighten(now + Duration::from_secs(9));
//! assert_eq!(CallContext::of(request.extensions()).time_left(now), Some(Duration::from_secs(5)));
//!
//! // An error is found wherever it hides in the chain.
//! let error: BoxError = Elapsed::new(Duration::from_secs(5), Scope::Total).into();
//! let error = std::io::Error::other(error);
//! assert!(find_cause::<Elapsed>(&error).is_some());
//! ```
//!
//! # The record of a call
//!
//! Telemetry, a dead letter or a caller wants to know what layers further in have done: how often they sent the request, what they
//! waited for, what they decided. It cannot ask them, and a call that was dropped returns nothing. So it puts a [`CallRecord`] into
//! the request, and keeps a handle:
//!
//! ```text
//!   make it, keep a handle                         request with the record
//!   CallRecord::of_or_insert  -------------------------------------------------->  retry: attempts, backoffs, why it stopped
//!        |                                                                         concurrency limit, throttle: waits, rejections, pauses
//!        | read it at any time, also after the call was dropped                    timeouts: elapsed
//!        v                                                                         key layer, close: rejections
//!   attempts, waited(WaitedFor), notes
//! ```
//!
//! A layer writes only what is unusual, when it happens. A call without a record that neither waits nor fails pays for it with one
//! look-up in each layer that needs a handle beforehand (retry, timeouts, throttle), and only if its request has more extensions than
//! the [`CallContext`]. A record itself costs a call two allocations.
//!
//! # What it does not do
//!
//! There is no layer here, and no timer. What a response says about waiting is read by `courteous-hints`.

mod attempt;
mod call_keys;
mod call_record;
mod call_timeout;
mod cause;
mod classify;
mod context;
mod deadline_format;
mod dice;
mod elapsed;
mod gate;
mod host;
mod idempotent;
mod invalid_count;
mod invalid_settings;
mod key_claim;
mod key_field;
mod layer_kind;
mod letters_snapshot;
mod logical_origin;
mod long_lived;
mod no_random_bytes;
mod note;
mod observe_only;
mod origin;
mod origin_hash;
mod origin_hashes;
mod origin_key;
#[doc(hidden)]
pub mod plain;
mod pressure;
mod random;
mod rate;
mod refusal;
mod reject;
mod rejected;
mod repeat;
mod request;
mod request_line;
mod retried;
mod retry_info;
mod sent;
mod stop_reason;
#[cfg(feature = "test-util")]
pub mod test_util;
mod timer;
mod upload;
mod waited_for;

pub use attempt::{Attempt, History};
pub use call_keys::CallKeys;
pub use call_record::CallRecord;
pub use call_timeout::CallTimeout;
pub use cause::{BoxError, causes, find_cause};
pub use classify::{Classified, Classify, Effect, Fault, Outcome, ResponseHead, Verdict};
pub use context::{CallContext, CallId};
pub use deadline_format::DeadlineFormat;
pub use dice::Dice;
pub use elapsed::{Elapsed, Scope};
pub use gate::Gate;
pub use host::Host;
pub use idempotent::Idempotent;
pub use invalid_count::InvalidCount;
pub use invalid_settings::InvalidSettings;
pub use key_claim::{ClaimedKey, KeyClaim};
pub use key_field::KeyField;
pub use layer_kind::LayerKind;
pub use letters_snapshot::LettersSnapshot;
pub use logical_origin::LogicalOrigin;
pub use long_lived::LongLived;
pub use no_random_bytes::NoRandomBytes;
pub use note::{Note, NoteKind};
pub use observe_only::{Decision, ObserveOnly};
pub use origin::Origin;
pub use origin_hash::OriginHash;
pub use origin_hashes::OriginHashes;
pub use origin_key::OriginKey;
pub use pressure::{Pressure, UnderPressure};
pub use random::random_bytes;
pub use rate::{InvalidRate, Rate};
pub use refusal::{Refusal, RefusalCell};
pub use reject::{AsError, AsResponse, Reject};
pub use rejected::{RejectReason, Rejected};
pub use repeat::{is_conditional_write, is_idempotent};
pub use request::RequestView;
pub use request_line::RequestLine;
pub use retried::Retried;
pub use retry_info::RetryInfo;
pub use sent::Sent;
pub use stop_reason::StopReason;
pub use timer::{NoRuntime, timer};
pub use upload::Upload;
pub use waited_for::WaitedFor;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
