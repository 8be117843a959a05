use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use courteous_core::Upload;
use http_body::Body as _;
use reqwest::Body;

use crate::{Kept, NotReplayable, Replay};

/// The part of a reqwest body that stays behind.
#[derive(Debug)]
pub struct KeptReqwest(Kind);

#[derive(Debug)]
enum Kind {
    Bytes(Bytes),
    Stream(Kept<Body>),
}

impl Replay for Body {
    type Kept = KeptReqwest;

    fn keep_in_place(&mut self, limit: usize) -> KeptReqwest {
        KeptReqwest(if self.as_bytes().is_some() {
            let bytes = take_bytes(self);
            *self = bytes.clone().into();
            Kind::Bytes(bytes)
        } else {
            Kind::Stream(Kept::wrapping(self, limit, Self::wrap))
        })
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

    fn upload(kept: &KeptReqwest) -> Option<Upload> {
        match &kept.0 {
            Kind::Bytes(_) => None,
            Kind::Stream(kept) => kept.upload(),
        }
    }

    fn watch_in_place(&mut self) -> Option<Upload> {
        match self.as_bytes() {
            Some(_) => None,
            None => Self::upload(&self.keep_in_place(0)),
        }
    }
}

/// The bytes that `body` was made of: its only frame, which is ready at once.
fn take_bytes(body: &mut Body) -> Bytes {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}
