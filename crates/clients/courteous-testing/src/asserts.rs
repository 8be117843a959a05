//! The only places that panic: checks of tests, which say so.

use crate::{Calls, Mismatch};

#[track_caller]
#[allow(
    clippy::panic,
    reason = "a check that fails panics: that is what it is for"
)]
pub(crate) fn done(verified: Result<(), Mismatch>) {
    if let Err(mismatch) = verified {
        panic!("{mismatch}");
    }
}

#[track_caller]
pub(crate) fn calls(calls: &Calls, expected: usize) {
    let came = calls.len();
    assert!(
        came == expected,
        "expected {expected} calls, and {came} came:\n{calls}"
    );
}
