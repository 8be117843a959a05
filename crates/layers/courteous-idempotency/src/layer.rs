use std::{fmt, sync::Arc};

use courteous_core::{InvalidSettings, LayerKind, ObserveOnly, RequestView};
use http::{HeaderName, Method};
use tower_layer::Layer;

use crate::{
    IdempotencyKey, IntoKey, InvalidHosts, InvalidMethods, KeyFormat, KeySettings, RandomUuid,
    hosts::Hosts,
    settings::{Settings, default_methods},
};

/// Gives each call one idempotency key, the same on all its attempts. See [`IdempotencyKey`].
#[derive(Clone)]
pub struct IdempotencyKeyLayer<G = RandomUuid> {
    settings: Settings,
    generator: G,
}

impl IdempotencyKeyLayer {
    /// A random UUID as `Idempotency-Key` for each `POST` and `PATCH` request, whatever its host.
    #[must_use]
    pub fn new() -> Self {
        Self {
            settings: Settings::default(),
            generator: RandomUuid,
        }
    }
}

impl Default for IdempotencyKeyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<G> IdempotencyKeyLayer<G> {
    /// The name of the header field that holds the key. `Idempotency-Key` by default, which is the
    /// IETF draft's and most providers' name.
    ///
    /// A retry has to be told too, as it is this field that makes a `POST` safe to send again.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName) -> Self {
        self.settings.header = name;
        self
    }

    /// How keys are written. Raw by default: the IETF draft's quotes are refused by some servers,
    /// and are part of the key for others.
    #[must_use]
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.settings.format = format;
        self
    }

    /// The methods whose requests get a key, instead of `POST` and `PATCH`, which are those that
    /// are not idempotent by themselves. None at all if `methods` is empty.
    ///
    /// Inside a retry, against the recommended order, `PUT` and `DELETE` requests get no random key:
    /// see [`RandomUuid`].
    ///
    /// # Errors
    /// If a method is safe (`GET`, `HEAD`, `OPTIONS`, `TRACE`): a request that changes nothing
    /// needs no key.
    pub fn with_methods(
        mut self,
        methods: impl IntoIterator<Item = Method>,
    ) -> Result<Self, InvalidMethods> {
        self.settings.methods = methods.into_iter().collect();
        match self.settings.methods.iter().find(|method| method.is_safe()) {
            Some(method) => Err(InvalidMethods::new(method.clone())),
            None => Ok(self),
        }
    }

    /// The hosts to which keys go, instead of all. None at all if `hosts` is empty.
    ///
    /// Each is the name or address of a host (`api.example.com`), or of all hosts below one
    /// (`*.example.com`, at any depth), at any port or at a given one (`api.example.com:8443`). A
    /// request whose target is relative is for the host in its `Host` field. Name the hosts if the
    /// client talks to others too: they need not see the keys, and a key that a server does not
    /// know of protects nothing.
    ///
    /// # Errors
    /// If a text is nothing of that.
    pub fn with_hosts<I>(mut self, hosts: I) -> Result<Self, InvalidHosts>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        self.settings.hosts = Hosts::only(hosts)?;
        Ok(self)
    }

    /// Only observes: no request is touched or rejected, while the switch is on. `true` is a switch of the layer's own; `false`
    /// enforces, also in a stack that only observes. The default is to enforce.
    ///
    /// A request that would have got a key is counted as [`Decision::Key`](courteous_core::Decision::Key), and one whose malformed
    /// key would have been rejected as [`Decision::KeyReject`](courteous_core::Decision::KeyReject); an event tells each. No key
    /// is drawn and the generator is not asked, so whether it has a key is not known. A retry inside sees a request
    /// without a key.
    #[must_use]
    pub fn observe_only(mut self, switch: impl Into<ObserveOnly>) -> Self {
        self.settings.observe = Some(switch.into());
        self
    }

    /// The switch that says whether the layer only observes. `None`: it enforces.
    #[must_use]
    pub const fn observe_only_switch(&self) -> Option<&ObserveOnly> {
        self.settings.observe.as_ref()
    }

    /// The same with what `settings` state.
    ///
    /// # Errors
    ///
    /// As [`with_methods`](Self::with_methods) and [`with_hosts`](Self::with_hosts).
    pub fn with_settings(mut self, settings: &KeySettings) -> Result<Self, InvalidSettings> {
        let KeySettings {
            header,
            methods,
            hosts,
        } = settings;
        if let Some(header) = header {
            self = self.with_header(header.clone());
        }
        let is_off = self.settings.methods.is_empty() && *settings != KeySettings::default();
        let methods = methods.clone();
        if let Some(methods) = methods.or_else(|| is_off.then(default_methods)) {
            let with = self.with_methods(methods);
            self = with.map_err(|error| InvalidSettings::new("methods", error.to_string()))?;
        }
        if let Some(hosts) = hosts {
            let with = self.with_hosts(hosts);
            self = with.map_err(|error| InvalidSettings::new("hosts", error.to_string()))?;
        }
        Ok(self)
    }

    /// All settings that a file can state, as they are now.
    #[must_use]
    pub fn settings(&self) -> KeySettings {
        self.settings.all()
    }

    /// Makes the keys with `generate`, instead of drawing them.
    ///
    /// A key that follows from the request (the order's number in its extensions, say) survives a
    /// crash of the client: asked again by the user, the server still knows the operation. With
    /// `None`, the request gets no key, and so is not safe to be sent again. Where there is nothing
    /// to derive a key from, [`RandomUuid`] can be asked for one.
    ///
    /// Inside a retry, against the recommended order, `generate` is asked again for each attempt.
    /// The retry has then seen a request without a key. It sends that again only if the last
    /// attempt was never sent, or was rejected, so no two keys are processed. But
    /// if the caller calls the request idempotent, it is sent again also where it may have been
    /// processed: then the key has to follow from the request. Two requests of one attempt under
    /// one key are rejected there, for [`KeyReused`](courteous_core::RejectReason::KeyReused).
    #[must_use]
    pub fn with_generator<F, K>(self, generate: F) -> IdempotencyKeyLayer<F>
    where
        F: Fn(RequestView<'_>) -> K,
        K: IntoKey,
    {
        IdempotencyKeyLayer {
            settings: self.settings,
            generator: generate,
        }
    }
}

impl<S, G: Clone> Layer<S> for IdempotencyKeyLayer<G> {
    type Service = IdempotencyKey<S, G>;

    fn layer(&self, inner: S) -> Self::Service {
        LayerKind::IdempotencyKey.check_order::<S>();
        let settings = Arc::new(self.settings.clone());
        IdempotencyKey::new(inner, settings, self.generator.clone())
    }
}

impl<G> fmt::Debug for IdempotencyKeyLayer<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKeyLayer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
