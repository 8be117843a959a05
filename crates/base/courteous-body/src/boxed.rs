use bytes::Bytes;
use courteous_core::{BoxError, Upload};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};

use crate::{Kept, NotReplayable, Replay};

/// Bodies that can be made of any other body.
macro_rules! replay_by_wrapping {
    ($($body:ty),+) => { $(
        impl Replay for $body {
            type Kept = Kept<Self>;

            fn keep_in_place(&mut self, limit: usize) -> Kept<Self> {
                Kept::wrapping(self, limit, Self::new)
            }

            fn check(kept: &Kept<Self>) -> Result<(), NotReplayable> {
                kept.check()
            }

            fn again(kept: &Kept<Self>) -> Result<Self, NotReplayable> {
                kept.again().map(Self::new)
            }

            fn upload(kept: &Kept<Self>) -> Option<Upload> {
                kept.upload()
            }
        }
    )+ };
}

replay_by_wrapping!(BoxBody<Bytes, BoxError>, UnsyncBoxBody<Bytes, BoxError>);

#[cfg(feature = "axum")]
replay_by_wrapping!(axum_core::body::Body);

#[cfg(feature = "tonic")]
replay_by_wrapping!(tonic::body::Body);
