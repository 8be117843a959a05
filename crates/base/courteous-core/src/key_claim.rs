use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// A request extension: the request's idempotency key is for one operation, and the first that is sent under it claims it.
///
/// A key layer puts one beside each key. A service further in may make several requests out of one, by
/// copying its header fields and extensions. They would have one key, and the server would take the second for the first, sent
/// again. A retry claims the key for the first of them, and rejects the others.
///
/// # Sharing
///
/// Clones are the same claim.
#[derive(Clone, Debug, Default)]
pub struct KeyClaim(Arc<AtomicU32>);

/// A key that was claimed, for as long as it is not released.
#[derive(Debug)]
pub struct ClaimedKey {
    claim: KeyClaim,
    before: u32,
    now: u32,
}

impl KeyClaim {
    /// A key that nothing was sent under.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims the key for an operation that is sent in `attempt` of a retry further out. `None` if another operation has it.
    ///
    /// Each attempt of an outer retry is the same operation once more, so it claims the key again.
    #[must_use]
    pub fn claim(&self, attempt: Option<NonZeroU32>) -> Option<ClaimedKey> {
        // One more than the attempt: zero is a key that was not claimed.
        let now = attempt.map_or(0, NonZeroU32::get).saturating_add(1);
        let before = self.0.fetch_max(now, Relaxed);
        (before < now).then(|| ClaimedKey {
            claim: self.clone(),
            before,
            now,
        })
    }
}

impl ClaimedKey {
    /// The claim that a retry hands on with an attempt: all that is sent in the attempt shares it.
    ///
    /// It is a new one if the retry is within another retry's attempt, as what is further in cannot tell the attempts of the two
    /// apart.
    #[must_use]
    pub fn for_retries_inside(&self) -> KeyClaim {
        match self.now {
            1 => self.claim.clone(),
            _ => KeyClaim::new(),
        }
    }

    /// Lets the key be claimed again: no server has acted on the operation, or it asked for it to be sent in another way.
    pub fn release(self) {
        let Self { claim, before, now } = self;
        // Else another attempt has claimed it since.
        let _ = claim.0.compare_exchange(now, before, Relaxed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_claimed_once_for_each_attempt_of_a_retry_further_out() {
        let attempt = NonZeroU32::new;
        let key = KeyClaim::new();
        assert!(key.claim(None).is_some());
        assert!(key.clone().claim(None).is_none());
        for number in 1..4 {
            assert!(key.claim(attempt(number)).is_some());
            assert!(key.claim(attempt(number)).is_none());
            assert!(key.claim(None).is_none());
        }
        assert!(KeyClaim::new().claim(None).is_some(), "another key");
    }

    #[test]
    fn an_attempt_within_another_retrys_attempt_has_a_claim_of_its_own() {
        let attempt = NonZeroU32::new(1);
        let key = KeyClaim::new();
        let outer = key.claim(None).unwrap();
        let inner = outer.for_retries_inside().claim(attempt).unwrap();
        assert!(key.claim(attempt).is_none());
        let innermost = inner.for_retries_inside();
        assert!(innermost.claim(attempt).is_some());
        assert!(innermost.claim(attempt).is_none());
    }

    #[test]
    fn a_key_that_was_released_can_be_claimed_again() {
        let key = KeyClaim::new();
        key.claim(None).unwrap().release();
        let outer = key.claim(None).unwrap();
        let inner = key.claim(NonZeroU32::new(1)).unwrap();
        outer.release();
        assert!(key.claim(None).is_none(), "an attempt has it");
        inner.release();
        assert!(key.claim(NonZeroU32::new(1)).is_some());
    }
}
