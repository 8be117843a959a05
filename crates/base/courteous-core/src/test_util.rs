//! What tests of the layers need: to count what is drawn from the operating system, and to be refused.
//!
//! Each thread has a count and a switch of its own, so that tests do not see each other.

use std::cell::Cell;

use crate::NoRandomBytes;

thread_local! {
    static DRAWS: Cell<u64> = const { Cell::new(0) };
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// How often this thread has asked for [`random_bytes`](crate::random_bytes).
#[must_use]
pub fn draws() -> u64 {
    DRAWS.get()
}

/// Runs `f`, during which this thread is refused [`random_bytes`](crate::random_bytes).
pub fn without_random_bytes<T>(f: impl FnOnce() -> T) -> T {
    let before = REFUSED.replace(true);
    let value = f();
    REFUSED.set(before);
    value
}

pub(crate) fn count_draw() -> Result<(), NoRandomBytes> {
    DRAWS.set(DRAWS.get() + 1);
    match REFUSED.get() {
        true => Err(NoRandomBytes(getrandom::Error::UNSUPPORTED)),
        false => Ok(()),
    }
}
