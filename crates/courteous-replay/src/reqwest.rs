use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::Body as _;
use reqwest::Body;

use crate::{Kept, NotReplayable, Replay};

/// What stays behind of a reqwest body.
#[derive(Debug)]
pub struct KeptReqwest(Kind);

#[derive(Debug)]
enum Kind {
    Bytes(Bytes),
    Stream(Kept<Body>),
}

impl Replay for Body {
    type Kept = KeptReqwest;

    fn keep(mut self, limit: usize) -> (Self, KeptReqwest) {
        if self.as_bytes().is_some() {
            let bytes = take_bytes(&mut self);
            return (bytes.clone().into(), KeptReqwest(Kind::Bytes(bytes)));
        }
        let (body, kept) = Kept::wrapping(self, limit, Self::wrap);
        (body, KeptReqwest(Kind::Stream(kept)))
    }

    fn check(kept: &KeptReqwest) -> Result<(), NotReplayable> {
        match &kept.0 {
            Kind::Bytes(_) => Ok(()),
            Kind::Stream(kept) => kept.check(),
        }
    }

    fn again(kept: &KeptReqwest) -> Result<Self, NotReplayable> {
        match &kept.0 {
            Kind::Bytes(bytes) => Ok(bytes.clone().into()),
            Kind::Stream(kept) => kept.again().map(Self::wrap),
        }
    }
}

/// The bytes that `body` was made of: its only frame, which is there at once.
fn take_bytes(body: &mut Body) -> Bytes {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}
