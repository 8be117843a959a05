use courteous_core::ObserveOnly;
use http::{HeaderName, Method};

use crate::{KeyFormat, KeySettings, hosts::Hosts};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What does not depend on the generator's type.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) header: HeaderName,
    pub(crate) format: KeyFormat,
    pub(crate) methods: Vec<Method>,
    pub(crate) hosts: Hosts,
    pub(crate) observe: Option<ObserveOnly>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header: IDEMPOTENCY_KEY,
            format: KeyFormat::default(),
            methods: default_methods(),
            hosts: Hosts::default(),
            observe: None,
        }
    }
}

impl Settings {
    pub(crate) fn all(&self) -> KeySettings {
        KeySettings {
            header: Some(self.header.clone()),
            methods: Some(self.methods.clone()),
            hosts: self.hosts.texts(),
        }
    }
}

pub(crate) fn default_methods() -> Vec<Method> {
    vec![Method::POST, Method::PATCH]
}
