use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// How the body of a request goes out: a request extension, for layers that limit silence.
///
/// A layer that wraps the body puts it there, and the body reports each frame that the client takes. Inside, an attempt
/// timeout starts its time again at the last frame, so that it does not count our own upload as the server's silence.
///
/// # Sharing
///
/// Clones share one state. All attempts of a call report to the same one.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    last: Arc<Mutex<Option<Progress>>>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    at: Instant,
    large: Option<(Instant, usize)>,
}

impl Upload {
    /// A frame of up to this many bytes counts as sent when the client has taken it: 64 KiB.
    pub const LARGE: usize = 64 * 1024;

    /// An upload that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports that the client has just taken a frame of `bytes` bytes, or has seen the end of the body.
    pub fn advance(&self, bytes: usize) {
        let at = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let large = match bytes > Self::LARGE {
            true => Some((at, bytes)),
            false => last.and_then(|progress| progress.large),
        };
        *last = Some(Progress { at, large });
    }

    /// When the client last took a frame or saw the end of the body. `None` before the first frame.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        self.get().map(|progress| progress.at)
    }

    /// When the client last took a frame of more than [`LARGE`](Self::LARGE) bytes, and its bytes.
    ///
    /// A client takes a frame at once, whatever its size, and sends it from a buffer of its own. It takes the next one when
    /// there is room again. In between its progress is unknown.
    #[must_use]
    pub fn last_large(&self) -> Option<(Instant, usize)> {
        self.get().and_then(|progress| progress.large)
    }

    fn get(&self) -> Option<Progress> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_see_the_last_frame_and_the_last_large_one() {
        let upload = Upload::new();
        assert_eq!((upload.last(), upload.last_large()), (None, None));
        let (before, clone) = (Instant::now(), upload.clone());
        clone.advance(Upload::LARGE);
        assert!(upload.last() >= Some(before));
        assert_eq!(upload.last_large(), None);
        clone.advance(Upload::LARGE + 1);
        clone.advance(0);
        let (at, bytes) = upload.last_large().unwrap();
        assert!(at >= before && Some(at) <= upload.last());
        assert_eq!(bytes, Upload::LARGE + 1);
    }
}
