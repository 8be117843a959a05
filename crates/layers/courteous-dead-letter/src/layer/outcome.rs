use std::{error::Error, fmt, sync::Arc, time::Duration};

use courteous_core::{BoxError, NoRandomBytes};
use http::Response;

use crate::{LetterId, PushError, Reason};

/// A call has finally failed, and is kept as a dead letter.
///
/// It is in the extensions of the response; or it is the error, with the call's own error as its
/// source. [`find_cause`](courteous_core::find_cause) finds it.
#[derive(Clone, Debug)]
pub struct DeadLettered {
    id: LetterId,
    reason: Reason,
    source: Option<Arc<BoxError>>,
}

/// A call has finally failed, and could not be kept as a dead letter.
///
/// It is found in the same places as [`DeadLettered`]. After a
/// [timeout](NotRecordedCause::TimedOut) or [`PushError::Failed`], the letter may still have been
/// kept: a write whose answer was lost may have been made. After the other causes it is not kept.
#[derive(Clone, Debug)]
pub struct NotRecorded {
    id: LetterId,
    reason: Reason,
    cause: NotRecordedCause,
    source: Option<Arc<BoxError>>,
}

/// Why a call could not be kept as a dead letter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NotRecordedCause {
    /// Within this time, the sink has not said that the letter is durable. It may become durable
    /// later.
    TimedOut(Duration),
    /// The sink has rejected the letter, or has not said that it is durable.
    Rejected(Arc<PushError>),
    /// There is a retry outside the layer, which is the wrong place in a stack. The layer cannot
    /// know there whether the call has failed for good.
    RetryOutside,
    /// No id could be made for the letter: the operating system had no random bytes.
    NoId(NoRandomBytes),
}

impl DeadLettered {
    pub(crate) const fn new(id: LetterId, reason: Reason) -> Self {
        Self {
            id,
            reason,
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: BoxError) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The layer's note on a response. `None` if the response is an answer, or could not be
    /// recorded.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Option<&Self> {
        response.extensions().get()
    }

    /// The id of the record.
    #[must_use]
    pub const fn id(&self) -> LetterId {
        self.id
    }

    /// Why the call was given up.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The call's own error, to be changed in place. `None` for a response, and for a cloned value.
    #[must_use]
    pub fn source_mut(&mut self) -> Option<&mut BoxError> {
        Arc::get_mut(self.source.as_mut()?)
    }
}

impl NotRecorded {
    pub(crate) const fn new(id: LetterId, reason: Reason, cause: NotRecordedCause) -> Self {
        Self {
            id,
            reason,
            cause,
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: BoxError) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The layer's note on a response. `None` if the response is an answer, or was recorded.
    #[must_use]
    pub fn of<B>(response: &Response<B>) -> Option<&Self> {
        response.extensions().get()
    }

    /// The id that the record would have had. After [`NoId`](NotRecordedCause::NoId), it holds only
    /// the time.
    #[must_use]
    pub const fn id(&self) -> LetterId {
        self.id
    }

    /// Why the call was given up.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Why it is not recorded.
    #[must_use]
    pub const fn cause(&self) -> &NotRecordedCause {
        &self.cause
    }

    /// The call's own error, to be changed in place. `None` for a response, and for a cloned value.
    #[must_use]
    pub fn source_mut(&mut self) -> Option<&mut BoxError> {
        Arc::get_mut(self.source.as_mut()?)
    }
}

impl fmt::Display for DeadLettered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kept as dead letter {}", self.id)
    }
}

impl fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not kept as a dead letter: ")?;
        match &self.cause {
            NotRecordedCause::TimedOut(limit) => write!(f, "not durable within {limit:?}"),
            NotRecordedCause::Rejected(error) => write!(f, "{error}"),
            NotRecordedCause::RetryOutside => f.write_str("a retry is outside of the layer"),
            NotRecordedCause::NoId(error) => write!(f, "it has no id: {error}"),
        }
    }
}

impl Error for DeadLettered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        source(self.source.as_ref())
    }
}

impl Error for NotRecorded {
    /// The call's error, if it had no response. The sink's error is in
    /// [`cause`](NotRecorded::cause).
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        source(self.source.as_ref())
    }
}

fn source(source: Option<&Arc<BoxError>>) -> Option<&(dyn Error + 'static)> {
    let source: &BoxError = source?;
    Some(&**source)
}
