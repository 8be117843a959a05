use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use courteous_core::{BoxError, Scope};
use tokio::time::Sleep;

use crate::{
    events::Subject,
    limit::{Limit, poll_timer},
    silence::Silence,
    told::Told,
};

/// What limits the wait for the frames of a response's body.
#[derive(Debug, Default)]
pub(crate) struct Wait {
    /// The end of the call or of the attempt, if it covers the body.
    limit: Option<Limit>,
    /// The limit on the silence between two frames, and what moves both limits while the request's body is still being sent.
    silence: Option<Box<Silence>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Told of the first limit that strikes, after which there is none.
    told: Told,
    subject: Subject,
}

impl Wait {
    pub(crate) const fn new(
        limit: Option<Limit>,
        silence: Option<Box<Silence>>,
        told: Told,
        subject: Subject,
    ) -> Self {
        Self {
            limit,
            silence,
            timer: None,
            told,
            subject,
        }
    }

    /// Ends the wait for one frame. The timer stays as it is: mostly the next frame comes before it rings.
    pub(crate) fn frame_came(&mut self) {
        if let Some(silence) = &mut self.silence {
            silence.idle_ends = None;
        }
    }

    /// Waits for the end of the time that the next frame has, and returns the error that says so, or that there
    /// is no runtime to wait on.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        if let Some(silence) = &mut self.silence {
            silence.begin_idle();
        }
        loop {
            let Some(limit) = self.earliest() else {
                return Poll::Pending;
            };
            if self.timer.is_none() {
                match limit.timer() {
                    Ok(timer) => self.timer = Some(Box::pin(timer)),
                    Err(no_runtime) => match self.told.unless_observed(no_runtime) {
                        Some(error) => return Poll::Ready(error),
                        None => *self = Self::default(),
                    },
                }
            }
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            if limit.deadline() < timer.deadline() {
                timer.as_mut().reset(limit.deadline());
            }
            ready!(poll_timer(timer.as_mut(), cx));
            if timer.deadline() < limit.deadline() {
                // It was set for an earlier frame.
                timer.as_mut().reset(limit.deadline());
                continue;
            }
            if self.extend(&limit) {
                continue;
            }
            if let Some(error) = self.told.strike(&limit, &self.subject) {
                return Poll::Ready(error);
            }
            *self = Self::default();
        }
    }

    fn earliest(&self) -> Option<Limit> {
        let idle = self.silence.as_ref().and_then(|it| it.idle_limit());
        match (self.limit, idle) {
            (Some(limit), Some(idle)) if idle.deadline() < limit.deadline() => Some(idle),
            (limit, idle) => limit.or(idle),
        }
    }

    /// Puts off the one of the two limits that has struck, if the upload has made progress since. False if it has not.
    fn extend(&mut self, struck: &Limit) -> bool {
        let Some(silence) = &mut self.silence else {
            return false;
        };
        match struck.elapsed().scope() {
            Scope::Idle => silence.extend_idle(),
            Scope::Attempt => {
                let later = silence.extend(struck);
                self.limit = later.or(self.limit);
                later.is_some()
            }
            _ => false,
        }
    }
}
