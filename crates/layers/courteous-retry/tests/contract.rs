//! What every layer promises, promised by the retry.

use std::time::Duration;

use courteous_retry::{Backoff, Jitter, RetryLayer};
use courteous_testkit::{Subject, contract};

contract!(mod with_three_attempts {
    let wait = Backoff::constant(Duration::from_millis(20)).with_jitter(Jitter::None);
    Subject::new(RetryLayer::new().with_backoff(wait)).retries(3)
});

contract!(mod with_one_attempt {
    Subject::new(RetryLayer::new().with_max_attempts(1).unwrap())
});
