//! What goes wrong, and for which customer: by chance, but the same for both clients.

use std::time::Duration;

/// How late a stalling answer is: later than any client waits.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// The most mishaps that one customer's requests meet; after that, they are answered. A server that
/// never recovers is another story. With this one, a client that makes five attempts gets through
/// to every customer under every seed.
const MOST_MISHAPS: u32 = 3;

/// What is wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The connection is reset before anything is booked.
    Reset,
    /// 503, and nothing is booked.
    Unavailable,
    /// The charge is booked, and then the connection is reset.
    AnswerLost,
    /// The charge is booked, and then the answer does not come.
    AnswerStalls,
}

/// What is wrong with the `attempt`th request for `customer`, counted from 1.
pub(crate) fn mishap(seed: u64, customer: u32, attempt: u32) -> Option<Mishap> {
    if attempt > MOST_MISHAPS {
        return None;
    }
    let request = (u64::from(customer) << 32) | u64::from(attempt);
    match mix(mix(seed) ^ request) % 1000 {
        0..100 => Some(Mishap::Unavailable),
        100..110 => Some(Mishap::AnswerLost),
        110..120 => Some(Mishap::AnswerStalls),
        120..125 => Some(Mishap::Reset),
        _ => None,
    }
}

/// A number that looks random: the step of SplitMix64 (Steele, Lea and Flood, 2014).
const fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
