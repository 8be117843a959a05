use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use courteous_core::{BoxError, Scope};
use tokio::time::{Instant, Sleep};

use crate::{
    limit::{Limit, poll_timer},
    silence::Silence,
};

/// What limits the wait for the frames of a response's body.
#[derive(Debug, Default)]
pub(crate) struct Wait {
    /// The end of the call or of the attempt, if it covers the body.
    limit: Option<Limit>,
    /// What moves both ends while the request's body is still being sent.
    silence: Option<Box<Silence>>,
    idle_timeout: Option<Duration>,
    /// The end of the wait for the frame that the caller waits for now.
    idle_ends: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    pub(crate) const fn new(
        limit: Option<Limit>,
        silence: Option<Box<Silence>>,
        idle_timeout: Option<Duration>,
    ) -> Self {
        Self {
            limit,
            silence,
            idle_timeout,
            idle_ends: None,
            timer: None,
        }
    }

    /// Ends the wait for one frame. The timer stays as it is: mostly the next frame comes before it rings.
    pub(crate) const fn frame_came(&mut self) {
        self.idle_ends = None;
    }

    /// Waits for the end of the time that the next frame has, and returns the error that says so.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        if let Some(timeout) = self.idle_timeout
            && self.idle_ends.is_none()
        {
            // From here on, and not from the last frame on: until now it was the caller who kept the server waiting.
            self.idle_ends = Instant::now().checked_add(timeout);
        }
        loop {
            let Some(limit) = self.earliest() else {
                return Poll::Pending;
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(limit.timer()));
            if limit.deadline() < timer.deadline() {
                timer.as_mut().reset(limit.deadline());
            }
            ready!(poll_timer(timer.as_mut(), cx));
            if timer.deadline() < limit.deadline() {
                // It was set for an earlier frame.
                timer.as_mut().reset(limit.deadline());
                continue;
            }
            if !self.extend(&limit) {
                return Poll::Ready(limit.strike());
            }
        }
    }

    /// Puts a later limit in the place of `limit`, if the upload has made progress since.
    fn extend(&mut self, limit: &Limit) -> bool {
        let Some(silence) = &self.silence else {
            return false;
        };
        match (limit.elapsed().scope(), self.idle_timeout) {
            (Scope::Attempt, _) => match silence.extend(limit) {
                Some(later) => self.limit = Some(later),
                None => return false,
            },
            (Scope::Idle, Some(timeout)) => match silence.idle_end(timeout) {
                Some(later) if later > limit.deadline() => self.idle_ends = Some(later),
                _ => return false,
            },
            _ => return false,
        }
        true
    }

    fn earliest(&self) -> Option<Limit> {
        let idle = self.idle_timeout.zip(self.idle_ends);
        let idle = idle.and_then(|(timeout, end)| Limit::idle(end, timeout));
        match (self.limit, idle) {
            (Some(limit), Some(idle)) if idle.deadline() < limit.deadline() => Some(idle),
            (limit, idle) => limit.or(idle),
        }
    }
}
