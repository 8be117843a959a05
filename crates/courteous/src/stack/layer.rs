use courteous_concurrency::{self as concurrency, ConcurrencyLimitLayer};
use courteous_core::{InvalidSettings, ObserveOnly};
use courteous_idempotency::RandomUuid;
use courteous_limit::Partition;
use courteous_retry::Budget;
use courteous_throttle::PerOrigin;
use tower_layer::{Identity, Layer};

use super::{
    layers::Layers,
    snapshot::{Handles, Snapshot},
};
use crate::{Courteous, client::Closer, stack::Settings};

/// A [`Stack`](crate::Stack) whose settings fit together.
#[derive(Clone, Debug)]
pub struct StackLayer<P = PerOrigin, O = Identity, G = RandomUuid> {
    pub(super) layers: Layers<P, G>,
    pub(super) streaming: bool,
    pub(super) observe: Option<ObserveOnly>,
    pub(super) outer: O,
    pub(super) closer: Closer,
}

impl<P, O, G> StackLayer<P, O, G> {
    /// The handle that closes all clients that this layer and its clones make.
    #[must_use]
    pub const fn closer(&self) -> &Closer {
        &self.closer
    }

    /// The switch that says whether the stack only observes: that of [`Stack::observe_only`](crate::Stack::observe_only). `None`: it enforces. A layer may have
    /// a switch of its own.
    #[must_use]
    pub const fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.observe.as_ref()
    }
}

impl<P: Clone, O, G: Clone> StackLayer<P, O, G> {
    /// The stack around `client`: a [`Courteous`] client, or of `Stack::grpc` a `GrpcStatus` around one.
    pub fn layer<S>(&self, client: S) -> O::Service
    where
        O: Layer<Courteous<S, P, G>>,
    {
        let layered = self.layers.around(client, self.closer.clone());
        self.outer.layer(Courteous::new(layered, self.streaming))
    }
}

impl<P, O, G> StackLayer<P, O, G> {
    /// The retry budget: a handle to read.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        self.layers.retry.budget()
    }

    /// The concurrency limit: to be read, and changed by [`ConcurrencyLimitLayer::set_limit`].
    #[must_use]
    pub const fn concurrency_limit(&self) -> &ConcurrencyLimitLayer<concurrency::PerOrigin> {
        &self.layers.concurrency
    }

    /// What the throttle draws on: a handle to read and change.
    #[must_use]
    pub const fn throttle(&self) -> &P {
        self.layers.throttle.partition()
    }
}

impl<P: Partition, O, G> StackLayer<P, O, G> {
    /// What is in force now, for all clients of this layer: for a health check, or a support ticket. See [`Snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.handles().snapshot()
    }

    /// All settings, as they are now. An unlimited budget has none: given back to another stack, they leave its budget as it is.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.handles().settings
    }

    /// Changes what `settings` state, in all clients of this layer: see [`Courteous::apply`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn apply(&self, settings: &Settings) -> Result<(), InvalidSettings> {
        self.handles().apply(settings)
    }

    fn handles(&self) -> Handles<'_, P> {
        let Layers {
            key,
            total,
            retry,
            concurrency,
            throttle,
            attempt,
            ..
        } = &self.layers;
        #[cfg(feature = "dead-letter")]
        let (dead_letter, letter_switch) = match &self.layers.dead_letter {
            Some(layer) => (Some(layer.snapshot()), layer.observe_only_switch()),
            None => (None, None),
        };
        #[cfg(not(feature = "dead-letter"))]
        let (dead_letter, letter_switch) = (None, None::<&ObserveOnly>);
        Handles {
            settings: Settings {
                total_timeout: Some(total.timeout()),
                attempt_timeout: Some(attempt.timeout()),
                idle_timeout: attempt.idle_timeout(),
                streaming: Some(self.streaming),
                idempotency_key: key.settings(),
                retry: retry.settings(),
                concurrency_limit: concurrency.settings(),
                throttle: throttle.settings(),
            },
            retry: retry.clone(),
            concurrency,
            throttle: throttle.partition(),
            dead_letter,
            closer: &self.closer,
            switches: vec![
                ("idempotency_key", key.observe_only_switch().cloned()),
                ("dead_letter", letter_switch.cloned()),
                ("total_timeout", total.observe_only_switch().cloned()),
                ("retry", retry.observe_only_switch().cloned()),
                (
                    "concurrency_limit",
                    concurrency.observe_only_switch().cloned(),
                ),
                ("throttle", throttle.observe_only_switch().cloned()),
                ("attempt_timeout", attempt.observe_only_switch().cloned()),
            ],
        }
    }
}

impl<S, P, O, G> Layer<S> for StackLayer<P, O, G>
where
    P: Clone,
    O: Layer<Courteous<S, P, G>>,
    G: Clone,
{
    type Service = O::Service;

    fn layer(&self, client: S) -> O::Service {
        self.layer(client)
    }
}
