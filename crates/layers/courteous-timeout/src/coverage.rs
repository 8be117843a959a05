use courteous_core::LongLived;
use http::Extensions;

/// How far a timeout reaches: a layer's setting, and a request extension.
///
/// As a request extension it replaces the setting of the total timeout for this call. An attempt timeout covers the body
/// only if its own setting *and* the request allow that. [`LongLived`] among the extensions says [`Headers`](Self::Headers),
/// unless a `Coverage` is there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coverage {
    /// To the response's header section: what its body takes is not counted.
    Headers,
    /// To the end of the response's body, trailers included.
    Body,
}

impl Coverage {
    /// What the caller of a request with `extensions` asks for.
    pub(crate) fn asked_by(extensions: &Extensions) -> Option<Self> {
        let own = extensions.get().copied();
        own.or_else(|| extensions.get::<LongLived>().map(|_| Self::Headers))
    }
}
