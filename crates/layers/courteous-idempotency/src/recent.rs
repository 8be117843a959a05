use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

use courteous_core::{CallId, RequestView};

/// The most operations that are remembered.
const MAX: usize = 256;

/// The operations that were sent in attempts of a retry, so that the next attempt's have the same keys.
///
/// One attempt may make several requests: each has a key of its own, also if method and target are the same. The next attempt
/// makes them again, in the same order.
///
/// An operation that is no longer remembered gets a new key: no two share one because memory ran out. That is safe, as the retry has
/// seen a request without a key, and goes by that. It is not safe where the retry repeats what may have been processed: there, the
/// keys are derived with [`CallKeys`](courteous_core::CallKeys).
pub(crate) struct Recent(Mutex<State>);

struct State {
    operations: VecDeque<Operation>,
    /// How many there were.
    count: u64,
}

struct Operation {
    call: CallId,
    /// Method and target. Two of the same hash can take each other's place in the order, and nothing worse.
    hash: u64,
    /// The last attempt that has sent it.
    attempt: NonZeroU32,
    number: u64,
}

impl Recent {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State {
            operations: VecDeque::new(),
            count: 0,
        }))
    }

    /// The bits of the key for `request`, in `attempt` of `call`: those that it had in the attempt before, or new ones.
    ///
    /// They follow from the call's id, which is drawn, and from a number that no other operation has.
    pub(crate) fn bits(
        &self,
        call: CallId,
        attempt: NonZeroU32,
        request: RequestView<'_>,
    ) -> [u8; 16] {
        let mut hasher = DefaultHasher::new();
        (request.method(), request.uri()).hash(&mut hasher);
        let hash = hasher.finish();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.number(call, hash, attempt);
        // Far below the bits that say what version of UUID it is.
        (call.to_bits() ^ u128::from(number)).to_be_bytes()
    }
}

impl State {
    fn number(&mut self, call: CallId, hash: u64, attempt: NonZeroU32) -> u64 {
        let known = self.operations.iter_mut().find(|operation| {
            operation.call == call && operation.hash == hash && operation.attempt < attempt
        });
        if let Some(operation) = known {
            operation.attempt = attempt;
            return operation.number;
        }
        if self.operations.len() >= MAX {
            self.operations.pop_front();
        }
        let number = self.count;
        self.count += 1;
        self.operations.push_back(Operation {
            call,
            hash,
            attempt,
            number,
        });
        number
    }
}
