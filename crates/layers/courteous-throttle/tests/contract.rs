//! The contract that every layer passes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use courteous_testkit::{Subject, contract};
use courteous_throttle::{Bucket, Rate, ThrottleLayer};

fn rate() -> Rate {
    "1/s".parse().unwrap()
}

contract!(mod one_bucket {
    let bucket = Bucket::new(rate());
    Subject::new(ThrottleLayer::from(bucket.clone()))
        .waits_behind(1)
        .gauge("waiting", move || bucket.waiting())
});
contract!(mod two_limits {
    let [requests, tokens] = Bucket::joint([rate(), rate()]);
    Subject::new(ThrottleLayer::from(requests))
        .waits_behind(1)
        .gauge("waiting", move || tokens.waiting())
});
contract!(mod per_origin {
    Subject::new(ThrottleLayer::per_origin(rate()))
        .waits_behind(1)
        .keeps_origins_apart(1)
});
contract!(mod per_origin_without_a_rate {
    Subject::new(ThrottleLayer::per_origin(Rate::UNLIMITED)).keeps_origins_apart(1)
});
