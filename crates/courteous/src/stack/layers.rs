use courteous_concurrency::{self as concurrency, ConcurrencyLimit, ConcurrencyLimitLayer};
use courteous_core::ObserveOnly;
#[cfg(feature = "dead-letter")]
use courteous_dead_letter::{DeadLetter, DeadLetterLayer};
use courteous_idempotency::{IdempotencyKey, IdempotencyKeyLayer};
use courteous_retry::{Retry, RetryLayer};
use courteous_throttle::{Throttle, ThrottleLayer};
use courteous_timeout::{AttemptTimeout, AttemptTimeoutLayer, TotalTimeout, TotalTimeoutLayer};
#[cfg(feature = "dead-letter")]
use tower::util::{Either, option_layer};
use tower_layer::Layer;

use crate::client::{Closer, close::CloseGate};

/// The layers of a [`Stack`](crate::Stack), outermost first.
#[derive(Clone, Debug)]
pub(crate) struct Layers<P, G> {
    pub(crate) key: IdempotencyKeyLayer<G>,
    #[cfg(feature = "dead-letter")]
    pub(crate) dead_letter: Option<DeadLetterLayer>,
    pub(crate) total: TotalTimeoutLayer,
    pub(crate) retry: RetryLayer,
    pub(crate) concurrency: ConcurrencyLimitLayer<concurrency::PerOrigin>,
    pub(crate) throttle: ThrottleLayer<P>,
    pub(crate) attempt: AttemptTimeoutLayer,
}

pub(crate) type Limited<S, P> =
    ConcurrencyLimit<Throttle<AttemptTimeout<S>, P>, concurrency::PerOrigin>;
pub(crate) type Timed<S, P> = TotalTimeout<Retry<Limited<S, P>>>;
pub(crate) type Gated<S, P> = CloseGate<Timed<S, P>>;
#[cfg(feature = "dead-letter")]
pub(crate) type Recorded<S, P> = Either<DeadLetter<Gated<S, P>>, Gated<S, P>>;
#[cfg(not(feature = "dead-letter"))]
pub(crate) type Recorded<S, P> = Gated<S, P>;
pub(crate) type Layered<S, P, G> = IdempotencyKey<Recorded<S, P>, G>;

impl<P, G> Layers<P, G> {
    pub(crate) fn with_key<H>(self, key: IdempotencyKeyLayer<H>) -> Layers<P, H> {
        Layers {
            key,
            #[cfg(feature = "dead-letter")]
            dead_letter: self.dead_letter,
            total: self.total,
            retry: self.retry,
            concurrency: self.concurrency,
            throttle: self.throttle,
            attempt: self.attempt,
        }
    }

    pub(crate) fn with_throttle<Q>(self, throttle: ThrottleLayer<Q>) -> Layers<Q, G> {
        Layers {
            key: self.key,
            #[cfg(feature = "dead-letter")]
            dead_letter: self.dead_letter,
            total: self.total,
            retry: self.retry,
            concurrency: self.concurrency,
            throttle,
            attempt: self.attempt,
        }
    }
}

impl<P, G> Layers<P, G> {
    /// Gives `switch` to all layers that have none.
    pub(crate) fn observe_only(self, switch: &ObserveOnly) -> Self {
        macro_rules! observing {
            ($layer:expr) => {
                match $layer.observe_only_switch() {
                    Some(_) => $layer,
                    None => $layer.observe_only(switch.clone()),
                }
            };
        }
        Self {
            key: observing!(self.key),
            #[cfg(feature = "dead-letter")]
            dead_letter: self.dead_letter.map(|layer| observing!(layer)),
            total: observing!(self.total),
            retry: observing!(self.retry),
            concurrency: observing!(self.concurrency),
            throttle: observing!(self.throttle),
            attempt: observing!(self.attempt),
        }
    }
}

impl<P: Clone, G: Clone> Layers<P, G> {
    pub(crate) fn around<S>(&self, client: S, closer: Closer) -> Layered<S, P, G> {
        let limited = self.throttle.layer(self.attempt.layer(client));
        let limited = self.concurrency.layer(limited);
        let whole = self.total.layer(self.retry.layer(limited));
        let whole = CloseGate::new(whole, closer);
        #[cfg(feature = "dead-letter")]
        let whole = option_layer(self.dead_letter.clone()).layer(whole);
        self.key.layer(whole)
    }
}
