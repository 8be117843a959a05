//! Between a service, which lives as long as its stack, and the rest of a middleware chain, which is borrowed for one call.
//!
//! The stack makes its attempts through a [`Relay`] in the request's extensions. The middleware's future, which alone may borrow
//! the chain, takes each from the channel, runs it, and gives the answer back.

use std::{
    error, fmt,
    pin::Pin,
    task::{Context, Poll},
};

use courteous_core::{Classified, Verdict};
use reqwest_middleware::Error;
use tokio::sync::{mpsc, oneshot};

use crate::verdict::verdict_of_middleware;

type Result = reqwest_middleware::Result<reqwest::Response>;

/// Where the attempts of one call go.
#[derive(Clone)]
pub(crate) struct Relay(mpsc::UnboundedSender<Attempt>);

/// One attempt: what is sent, and who waits for the answer.
pub(crate) struct Attempt {
    pub(crate) request: reqwest::Request,
    pub(crate) answer: oneshot::Sender<Result>,
}

impl Relay {
    /// A relay, and the attempts that come through it: as many as the stack makes, so no bound is needed.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Attempt>) {
        let (sender, attempts) = mpsc::unbounded_channel();
        (Self(sender), attempts)
    }

    /// Sends `request`. If the call has ended, the answer says so.
    pub(crate) fn attempt(&self, request: reqwest::Request) -> Answer {
        let (answer, receiver) = oneshot::channel();
        // An attempt that cannot be sent is dropped, and its answer's sender with it.
        drop(self.0.send(Attempt { request, answer }));
        Answer(receiver)
    }
}

/// The answer to one attempt. Dropping it ends the attempt.
pub(crate) struct Answer(oneshot::Receiver<Result>);

impl Answer {
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<std::result::Result<reqwest::Response, std::result::Result<reqwest::Error, Classified>>>
    {
        let answer = Pin::new(&mut self.0).poll(cx);
        answer.map(|answer| match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error_of(error)),
            Err(_) => Err(Err(Classified::new(Verdict::Permanent, CallEnded))),
        })
    }
}

/// reqwest's own error, if there is one at the top; else the error with its verdict.
fn error_of(error: Error) -> std::result::Result<reqwest::Error, Classified> {
    match error {
        Error::Reqwest(error) => Ok(error),
        Error::Middleware(error) => error.downcast().map_err(|error| {
            let verdict = verdict_of_middleware(&*error);
            Classified::new(verdict, Error::Middleware(error))
        }),
    }
}

/// The future of the middleware was dropped, and another task went on with the call.
#[derive(Debug)]
struct CallEnded;

impl fmt::Display for CallEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call of the middleware has ended")
    }
}

impl error::Error for CallEnded {}
