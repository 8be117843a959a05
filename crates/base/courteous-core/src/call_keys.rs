use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;

use crate::CallId;

/// A request extension: the idempotency keys under which one attempt of a call has sent requests.
///
/// A retry puts one into each attempt of a call that has no key, is not idempotent by its method, and is sent again all the same
/// where it may have been processed, as the caller says that it is idempotent. A key layer further in derives the same keys in each
/// attempt. A service between the two may make several requests of one: no two of an attempt are sent under one key.
///
/// # Sharing
///
/// Clones are the same attempt's keys.
#[derive(Clone, Debug)]
pub struct CallKeys(Arc<State>);

#[derive(Debug)]
struct State {
    call: Option<CallId>,
    sent: Mutex<Vec<HeaderValue>>,
}

impl CallKeys {
    /// No keys yet, in the first attempt of `call`. With `None`, none can be derived: another retry further out repeats the call,
    /// and its attempts cannot be told apart.
    #[must_use]
    pub fn new(call: Option<CallId>) -> Self {
        Self(Arc::new(State {
            call,
            sent: Mutex::default(),
        }))
    }

    /// No keys yet, in another attempt of the same call.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        Self::new(self.0.call)
    }

    /// From what to derive keys, if that is possible.
    #[must_use]
    pub fn call(&self) -> Option<CallId> {
        self.0.call
    }

    /// Adds a `key`, under which a request is about to be sent. Returns whether no other request of the attempt has it.
    #[must_use]
    pub fn add(&self, key: &HeaderValue) -> bool {
        let mut sent = self.0.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !sent.contains(key);
        if is_new {
            sent.push(key.clone());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once_in_each_attempt() {
        let keys = CallKeys::new(CallId::random().ok());
        let key = HeaderValue::from_static;
        assert!(keys.add(&key("a")) && keys.clone().add(&key("b")));
        assert!(!keys.add(&key("a")) && !keys.add(&key("b")));
        let next = keys.next_attempt();
        assert_eq!(next.call(), keys.call());
        assert!(next.add(&key("a")) && !next.add(&key("a")));
        assert!(!keys.add(&key("a")));
    }
}
