//! What every layer promises, promised by the retry.

use std::num::NonZeroU32;

use courteous_retry::RetryLayer;
use courteous_testkit::{Subject, contract};

contract!(mod by_default {
    Subject::new(RetryLayer::new()).retries(3)
});

contract!(mod with_one_attempt {
    Subject::new(RetryLayer::new().with_max_attempts(NonZeroU32::MIN))
});
