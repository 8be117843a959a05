use std::{fmt, sync::Arc, time::Duration};

use courteous_body::DEFAULT_LIMIT;
use courteous_classify::HttpClassifier;
use courteous_core::{Classify, ObserveOnly, RequestView};
use http::HeaderName;

use super::counts::Counts;
use crate::{
    BodyScrubber, Clock, LetterEvent, Reason, Sink, redact::Secrecy, redrive::KEY_LIFETIME,
};

/// The name that the IETF draft gives to the field.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What all services of a layer share.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) clock: Clock,
    pub(crate) reasons: Reasons,
    pub(crate) classifier: Arc<dyn Classify + Send + Sync>,
    pub(crate) key_header: HeaderName,
    /// The caller has chosen the field.
    pub(crate) is_key_header_chosen: bool,
    pub(crate) key_lifetime: Duration,
    pub(crate) body_limit: usize,
    pub(crate) secrecy: Secrecy,
    pub(crate) body_scrubber: Option<BodyScrubber>,
    pub(crate) record_timeout: Duration,
    pub(crate) must_record: bool,
    pub(crate) filter: Option<Arc<Only>>,
    pub(crate) on_letter: Option<Arc<OnLetter>>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) observe: Option<ObserveOnly>,
}

type Only = dyn Fn(RequestView<'_>) -> bool + Send + Sync;
type OnLetter = dyn Fn(&LetterEvent<'_>) + Send + Sync;

impl Settings {
    pub(crate) fn new(sink: Arc<dyn Sink>) -> Self {
        Self {
            sink,
            clock: Clock::system(),
            reasons: Reasons::retryable(),
            classifier: Arc::new(HttpClassifier::new()),
            key_header: IDEMPOTENCY_KEY,
            is_key_header_chosen: false,
            key_lifetime: KEY_LIFETIME,
            body_limit: DEFAULT_LIMIT,
            secrecy: Secrecy::new(),
            body_scrubber: None,
            record_timeout: Duration::from_secs(2),
            must_record: false,
            filter: None,
            on_letter: None,
            counts: Arc::default(),
            observe: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("sink", &self.sink)
            .field("reasons", &self.reasons)
            .field("key_header", &self.key_header)
            .field("key_lifetime", &self.key_lifetime)
            .field("body_limit", &self.body_limit)
            .field("secrecy", &self.secrecy)
            .field("body_scrubber", &self.body_scrubber)
            .field("record_timeout", &self.record_timeout)
            .field("must_record", &self.must_record)
            .field("observe_only", &self.observe)
            .finish_non_exhaustive()
    }
}

/// A set of reasons.
#[derive(Clone, Copy)]
pub(crate) struct Reasons(u32);

impl Reasons {
    pub(crate) const NONE: Self = Self(0);

    /// All reasons but two: calls that would fail again in the same way, and calls that their
    /// callers have dropped.
    fn retryable() -> Self {
        let all = Reason::ALL.into_iter().fold(Self::NONE, Self::with);
        let others = [Reason::Permanent, Reason::Vetoed, Reason::Abandoned];
        others.into_iter().fold(all, Self::without)
    }

    pub(crate) const fn with(self, reason: Reason) -> Self {
        Self(self.0 | 1 << reason as u32)
    }

    pub(crate) const fn without(self, reason: Reason) -> Self {
        Self(self.0 & !(1 << reason as u32))
    }

    pub(crate) const fn contains(self, reason: Reason) -> bool {
        self.0 & 1 << reason as u32 != 0
    }
}

impl fmt::Debug for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Reason::ALL.into_iter();
        let contained = all.filter(|&reason| self.contains(reason));
        f.debug_set().entries(contained).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_counts_by_default() {
        let reasons = Reasons::retryable();
        for reason in Reason::ALL {
            let other = matches!(
                reason,
                Reason::Permanent | Reason::Vetoed | Reason::Abandoned
            );
            assert_eq!(reasons.contains(reason), !other);
            assert!(reasons.with(reason).contains(reason));
            assert!(!reasons.without(reason).contains(reason));
        }
    }
}
