use std::{error, fmt};

use courteous_core::{
    BoxError, Elapsed, RejectReason, Rejected, Retried, StopReason, causes, find_cause,
};
use tokio::time::Instant;

#[cfg(feature = "reqwest")]
use crate::reqwest_error;
use crate::timeout_error;

/// Why a call got no response: one error for any stack, with the questions that people ask.
///
/// [`Stack`](crate::Stack) yields it. Of the error of a stack that was composed by hand, [`new`](Self::new) makes one.
///
/// `Display` tells what kind of failure it was, after how many attempts, and why there was no further one:
/// `call failed after 3 attempts: the retry budget is spent`. The sources tell what happened. With the feature `reqwest`, the kind
/// of reqwest's own error follows, `(reqwest: cannot connect)`; its URL, which may hold a secret, is left to the sources.
///
/// ```
/// use std::time::Duration;
///
/// use courteous::{
///     Error,
///     core::{Elapsed, Scope},
/// };
///
/// let error = Error::new(Elapsed::new(Duration::from_secs(5), Scope::Total));
/// assert!(error.is_timeout() && !error.is_rejected());
/// assert_eq!(error.to_string(), "call timed out");
/// assert_eq!(error.into_source().to_string(), "call not finished within 5s");
/// ```
pub struct Error {
    source: BoxError,
}

impl Error {
    /// The error of a courteous stack, or of any layer of it. Of an `Error`, this returns the same one.
    ///
    /// The attempts and the reason are told here, and no longer by the [`Retried`] below. An `Error` further down, of a stack within
    /// a stack, and a `tonic::Status`, whose message is what a gRPC caller sees, tell them still.
    pub fn new(error: impl Into<BoxError>) -> Self {
        let mut source = match error.into().downcast::<Self>() {
            Ok(error) => return *error,
            Err(source) => source,
        };
        say_why_once(&mut source, true);
        Self { source }
    }

    /// Whether the call, or its last attempt, took too long, or could not have been sent within its deadline.
    ///
    /// Also by a timeout that is none of ours, anywhere in the chain: [`TimedOut`](std::io::ErrorKind::TimedOut), which is what
    /// a connector's timeout becomes, Tokio's and Tower's `Elapsed`, and with the features `hyper-util`, `reqwest` and
    /// `tonic` what these clients call a timeout, such as a keep-alive that was not answered, or DEADLINE_EXCEEDED.
    ///
    /// That says nothing about whether the server has acted on the request, unless the call is also
    /// [rejected](Self::is_rejected).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let rejected = || self.find::<Rejected>().map(Rejected::reason);
        self.find::<Elapsed>().is_some()
            || rejected() == Some(RejectReason::Deadline)
            || causes(&*self.source).any(timeout_error::is_timeout)
    }

    /// Whether the last attempt was rejected by a layer of ours, mostly a limit, and so was not sent.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.find::<Rejected>().is_some()
    }

    /// When another call may be made at the earliest, if a server's hint or a limit tells.
    #[must_use]
    pub fn not_before(&self) -> Option<Instant> {
        match self.retried() {
            Some(retried) => retried.info().not_before(),
            None => self.find::<Rejected>()?.not_before(),
        }
    }

    /// How many attempts were made, the first included; `None` if there was no retry, or if the total timeout ended it.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        Some(self.retried()?.info().attempts())
    }

    /// Why there was no further attempt; `None` if there was no retry, or if the total timeout ended it.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        Some(self.retried()?.info().stop_reason())
    }

    /// The status of the last response that was let go for another attempt.
    #[must_use]
    pub fn last_status(&self) -> Option<http::StatusCode> {
        self.retried()?.last_status()
    }

    /// Where the call is kept, if a dead letter was made of it.
    #[cfg(feature = "dead-letter")]
    #[must_use]
    pub fn letter(&self) -> Option<courteous_dead_letter::LetterId> {
        let lettered = self.find::<courteous_dead_letter::DeadLettered>();
        // A response that has become a status.
        #[cfg(feature = "tonic")]
        let lettered =
            lettered.or_else(|| (self.find::<courteous_tonic::FailedAnswer>()?.extensions()).get());
        Some(lettered?.id())
    }

    /// The first cause of type `T`, however deep: a client's own error, for one.
    ///
    /// A [`Retried`] is meant to be read below this error, which tells its attempts and reason: its own text is only
    /// `the last error`. [`into_source`](Self::into_source) has it tell them again.
    #[must_use]
    pub fn find<T: error::Error + 'static>(&self) -> Option<&T> {
        find_cause(&*self.source)
    }

    /// The error as the stack has yielded it.
    #[must_use]
    pub fn into_source(mut self) -> BoxError {
        say_why_once(&mut self.source, false);
        self.source
    }

    fn retried(&self) -> Option<&Retried> {
        self.find()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.attempts();
        f.write_str(match (self.is_rejected(), self.is_timeout()) {
            (true, _) if attempts.is_none_or(|attempts| attempts == 0) => {
                "call rejected before it was sent"
            }
            (true, _) => "call rejected",
            (false, true) => "call timed out",
            (false, false) => "call failed",
        })?;
        match attempts {
            None | Some(0) => {}
            Some(1) => f.write_str(" after 1 attempt")?,
            Some(attempts) => write!(f, " after {attempts} attempts")?,
        }
        if let Some(reason) = self.stop_reason() {
            write!(f, ": {reason}")?;
        }
        #[cfg(feature = "reqwest")]
        if let Some(error) = self.find() {
            write!(f, " (reqwest: {})", reqwest_error::kind(error))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Error").field(&self.source).finish()
    }
}

/// For a function that sends requests and reads responses by reqwest's methods: one error, by `?`.
#[cfg(feature = "reqwest")]
impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::new(error)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// Lets the error of a retry tell the reason, or leave it to the error around it.
fn say_why_once(error: &mut BoxError, said_above: bool) {
    if let Some(retried) = error.downcast_mut::<Retried>() {
        retried.set_said_above(said_above);
    } else if let Some(source) = recorded(error) {
        say_why_once(source, said_above);
    }
}

/// The error that a dead letter is around.
#[cfg(feature = "dead-letter")]
fn recorded(error: &mut BoxError) -> Option<&mut BoxError> {
    use courteous_dead_letter::{DeadLettered, NotRecorded};

    if error.is::<DeadLettered>() {
        return error.downcast_mut::<DeadLettered>()?.source_mut();
    }
    error.downcast_mut::<NotRecorded>()?.source_mut()
}

#[cfg(not(feature = "dead-letter"))]
const fn recorded(_: &mut BoxError) -> Option<&mut BoxError> {
    None
}
