//! Ends the call: builds its [`RetryInfo`] and its error, and releases the idempotency key if
//! nothing was done under it.
//!
//! A response is returned as it is, with the info among its extensions. An error becomes the source
//! of a [`Retried`], with the info and with status and headers of the last response that was let
//! go, such as the 503 before a lost connection.

use std::mem;

use courteous_body::Keep;
use courteous_core::{
    BoxError, NoteKind, RejectReason, Rejected, Retried, RetryInfo, StopReason, find_cause,
};
use http::Response;

use super::Call;
use crate::{events, policy::Stop};

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// `error` as the source of a [`Retried`].
    pub(super) fn end(&mut self, stop: Stop, error: BoxError) -> BoxError {
        let retried = Retried::new(self.info(stop), error);
        match self.so_far().last.take() {
            Some(last) => retried.with_last(last.0, last.1).into(),
            None => retried.into(),
        }
    }

    /// The error of a call whose next attempt cannot be made: its service has failed, or there is
    /// no runtime to wait on.
    pub(crate) fn no_attempt(&mut self, error: BoxError) -> BoxError {
        self.so_far().next = None;
        self.end(
            Stop {
                reason: StopReason::Permanent,
                not_before: None,
            },
            error,
        )
    }

    /// The error of a call that has sent nothing, as another operation was sent under its key.
    pub(super) fn key_reused(&mut self) -> BoxError {
        self.so_far().progress.attempts = 0;
        let stop = Stop {
            reason: StopReason::Rejected,
            not_before: None,
        };
        self.end(stop, Rejected::new(RejectReason::KeyReused).into())
    }

    /// What the caller is told about the call. Takes the history, so it is asked once.
    pub(super) fn info(&mut self, stop: Stop) -> RetryInfo {
        let so_far = self.so_far();
        let info = RetryInfo::new(
            so_far.progress.attempts,
            so_far.progress.waited,
            stop.reason,
            stop.not_before,
            mem::take(&mut so_far.history),
        );
        if stop.reason != StopReason::Answered {
            events::stopped(&info, &self.line);
            if let Some(record) = self.record() {
                record.note(NoteKind::Stopped(stop.reason));
            }
        }
        info
    }
}

/// Whether a call under the same key may follow as the same operation: no server has acted on this
/// one, or the server asks for the same request at another place or with other credentials.
pub(super) fn leaves_the_key<RB>(result: &Result<Response<RB>, BoxError>) -> bool {
    match result {
        Ok(response) => {
            // After any other redirect, such as 303, the server may have acted (RFC 9110, section
            // 15.4.4).
            matches!(
                response.status().as_u16(),
                307 | 308 | 401 | 407 | 421 | 425
            )
        }
        Err(error) => find_cause::<Retried>(&**error)
            .is_none_or(|retried| !retried.info().history().is_maybe_processed()),
    }
}
