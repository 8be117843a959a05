mod finish;
mod judge;
mod observed;
mod plan;
mod record;
mod schedule;
mod start;

use std::{pin::Pin, sync::Arc};

use courteous_budget::{Payment, Receipt};
use courteous_core::{
    BoxError, CallContext, CallKeys, ClaimedKey, History, ObserveOnly, RequestLine, Trail,
};
use courteous_replay::Keep;
use http::{HeaderMap, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::{
    policy::{Allowance, Progress, RequestFacts},
    settings::Settings,
    snapshot::Snapshot,
};

/// One call: all that is known between its attempts.
pub(crate) struct Call<S, K: Keep<B>, B> {
    pub(crate) service: S,
    settings: Arc<Settings>,
    keep: K,
    /// For further attempts, the classifier, and who listens. There from the [beginning](Self::begin) on.
    line: Option<RequestLine>,
    /// The rest of the request as it came, to make each further attempt of. `None` if there can be only one.
    snapshot: Option<Snapshot<K::Kept>>,
    facts: RequestFacts,
    max_attempts: Allowance,
    context: CallContext,
    /// The key, if a key layer has given it to one operation.
    key: Option<ClaimedKey>,
    /// For a key layer further in, if the call is sent again where it may have been processed, and has no key.
    keys: Option<CallKeys>,
    /// Where a layer outside reads how the call goes.
    trail: Option<Trail>,
    /// The call is only observed.
    observed: Option<ObserveOnly>,
    /// Boxed, as nearly all calls end with their first attempt, and each byte of a call is moved several times.
    later: Option<Pin<Box<Later<B>>>>,
}

pin_project! {
    /// What a call needs only after its first attempt.
    struct Later<B> {
        so_far: SoFar<B>,
        // One for all waits of the call, made at the first that is one.
        #[pin]
        timer: Option<Sleep>,
    }
}

/// What there is to know of a call once an attempt has failed or was refused.
struct SoFar<B> {
    progress: Progress,
    history: History,
    /// What the response that was let go last said.
    last: Option<(StatusCode, HeaderMap)>,
    /// What the attempt that is under way has paid.
    receipt: Option<Receipt>,
    next: Option<Next<B>>,
}

/// The attempt that is waited for.
struct Next<B> {
    body: B,
    until: Instant,
    /// What it has paid. Nothing if it stands in for the first attempt, which a limit has refused.
    payment: Option<Payment>,
}

/// What follows an attempt.
pub(crate) enum Step<RB> {
    Return(Result<Response<RB>, BoxError>),
    /// To wait for the next attempt.
    Wait,
    /// Before that, to read what is left of the body of a response, until then at the latest.
    Drain(RB, Instant),
}

impl<S, K: Keep<B>, B> Call<S, K, B> {
    /// A call that is to [begin](Self::begin).
    #[inline(always)]
    pub(crate) fn new(service: S, settings: Arc<Settings>, keep: K) -> Self {
        Self {
            service,
            settings,
            keep,
            line: None,
            snapshot: None,
            facts: RequestFacts::default(),
            max_attempts: Allowance::Disabled,
            context: CallContext::default(),
            key: None,
            keys: None,
            trail: None,
            observed: None,
            later: None,
        }
    }

    /// The deadline of the call.
    const fn deadline(&self) -> Option<Instant> {
        self.context.deadline()
    }

    fn so_far(&mut self) -> &mut SoFar<B> {
        self.later().project().so_far
    }

    fn later(&mut self) -> Pin<&mut Later<B>> {
        let later = self.later.get_or_insert_with(|| {
            Box::pin(Later {
                so_far: SoFar {
                    progress: Progress::new(self.max_attempts),
                    history: History::new(),
                    last: None,
                    receipt: None,
                    next: None,
                },
                timer: None,
            })
        });
        later.as_mut()
    }
}
