use courteous_core::{CallRecord, NoteKind, ObserveOnly};
use http::Extensions;
use tokio::time::Instant;

/// What is told that a response has closed something, besides the store.
// One field for all, as each byte of a call is moved several times.
#[derive(Debug)]
pub(crate) enum Told {
    Nobody,
    /// The layer only observes.
    Observer,
    /// The call's record, which a layer outside has made.
    Record(CallRecord),
}

impl Told {
    /// The observer if the layer only observes, and else the record in `extensions`, if they `may_have` one.
    #[inline]
    pub(crate) fn of(
        observer: Option<&ObserveOnly>,
        extensions: &Extensions,
        may_have: bool,
    ) -> Self {
        if observer.is_some() {
            return Self::Observer;
        }
        let record = may_have.then(|| CallRecord::of(extensions)).flatten();
        record.cloned().map_or(Self::Nobody, Self::Record)
    }

    pub(crate) const fn is_observer(&self) -> bool {
        matches!(self, Self::Observer)
    }

    /// Writes into the record that calls are held up until `opens_at`.
    pub(crate) fn note_pause(&self, opens_at: Instant) {
        if let Self::Record(record) = self {
            record.note(NoteKind::paused(opens_at));
        }
    }
}
