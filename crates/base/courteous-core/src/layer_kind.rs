use std::{any, fmt};

/// A layer of ours, for the recommended order: the outermost is the least.
///
/// A layer tells, with the feature `tracing`, that it is put around one that belongs outside of it, to the target
/// `courteous::order`:
///
/// | event | level | fields |
/// |---|---|---|
/// | `misplaced` | debug | `outer` and `inner`: the layers as they are; `order`: the recommended one |
///
/// It says so when the service is made, once for each, and nothing is looked up in a call. It reads the *type* of the service
/// inside, so it sees through layers of others, and does not see what is boxed (`BoxCloneService`, an axum `Router`), nor what
/// a type of the caller's own hides. A client of a whole stack inside of another one is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// The idempotency key.
    IdempotencyKey,
    /// The dead letter.
    DeadLetter,
    /// The total timeout.
    TotalTimeout,
    /// The retry.
    Retry,
    /// The concurrency limit.
    ConcurrencyLimit,
    /// `courteous-adaptive`: a limit that is learned is inside of a fixed one, so that the wait there is no latency of
    /// the server.
    AdaptiveLimit,
    /// The throttle.
    Throttle,
    /// The attempt timeout.
    AttemptTimeout,
}

impl LayerKind {
    /// All, in the recommended order, outermost first.
    pub const ORDER: &'static [Self] = &[
        Self::IdempotencyKey,
        Self::DeadLetter,
        Self::TotalTimeout,
        Self::Retry,
        Self::ConcurrencyLimit,
        Self::AdaptiveLimit,
        Self::Throttle,
        Self::AttemptTimeout,
    ];

    /// The outermost kind of layer in the service `S` that belongs outside of this one, if there is one to be seen.
    ///
    /// ```
    /// use courteous_core::LayerKind;
    ///
    /// struct Client;
    /// assert_eq!(LayerKind::Retry.misplaced_in::<Client>(), None);
    /// ```
    #[must_use]
    pub fn misplaced_in<S: ?Sized>(self) -> Option<Self> {
        let service = any::type_name::<S>();
        let outer = (Self::ORDER.iter().copied()).take_while(|kind| *kind < self);
        let placed = outer.filter_map(|kind| Some((kind.position_in(service)?, kind)));
        placed.min().map(|(_, kind)| kind)
    }

    /// Tells, as an event at debug level, if `S` holds a layer that belongs outside of this one, which is put around it.
    #[inline]
    pub fn check_order<S: ?Sized>(self) {
        #[cfg(feature = "tracing")]
        if tracing::enabled!(target: "courteous::order", tracing::Level::DEBUG)
            && let Some(inner) = self.misplaced_in::<S>()
        {
            tracing::debug!(
                name: "misplaced",
                target: "courteous::order",
                outer = %self,
                inner = %inner,
                order = Self::recommended(),
                "layers are not in the recommended order: the inner one belongs outside"
            );
        }
    }

    /// The recommended order as text, for the event.
    #[cfg(feature = "tracing")]
    fn recommended() -> String {
        let names: Vec<_> = Self::ORDER.iter().map(Self::to_string).collect();
        names.join(" > ")
    }

    /// Where the service of such a layer is named in the name of a type.
    fn position_in(self, service: &str) -> Option<usize> {
        let (module, name) = self.service();
        service.match_indices(module).find_map(|(at, _)| {
            let path = &service[at..];
            let end = path.find('<')?;
            let is_it = path[..end].strip_suffix(name)?.ends_with("::");
            // Up to the next `<` there may be the end of this type, and another one.
            let is_one = !path[..end].contains([',', '>', ' ']);
            (is_it && is_one).then_some(at)
        })
    }

    const fn service(self) -> (&'static str, &'static str) {
        match self {
            Self::IdempotencyKey => ("courteous_idempotency::", "IdempotencyKey"),
            Self::DeadLetter => ("courteous_dead_letter::", "DeadLetter"),
            Self::TotalTimeout => ("courteous_timeout::", "TotalTimeout"),
            Self::Retry => ("courteous_retry::", "Retry"),
            Self::ConcurrencyLimit => ("courteous_concurrency::", "ConcurrencyLimit"),
            Self::AdaptiveLimit => ("courteous_adaptive::", "AdaptiveLimit"),
            Self::Throttle => ("courteous_throttle::", "Throttle"),
            Self::AttemptTimeout => ("courteous_timeout::", "AttemptTimeout"),
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IdempotencyKey => "idempotency key",
            Self::DeadLetter => "dead letter",
            Self::TotalTimeout => "total timeout",
            Self::Retry => "retry",
            Self::ConcurrencyLimit => "concurrency limit",
            Self::AdaptiveLimit => "adaptive limit",
            Self::Throttle => "throttle",
            Self::AttemptTimeout => "attempt timeout",
        })
    }
}
