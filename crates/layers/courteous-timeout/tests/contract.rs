//! What every layer promises, promised by both timeouts.

use std::time::Duration;

use courteous_testkit::{Subject, contract};
use courteous_timeout::{AttemptTimeoutLayer, Coverage, TotalTimeoutLayer};

const MINUTE: Duration = Duration::from_secs(60);

contract!(mod total { Subject::new(TotalTimeoutLayer::new(MINUTE)) });

contract!(mod total_to_the_headers {
    Subject::new(TotalTimeoutLayer::new(MINUTE).with_coverage(Coverage::Headers))
});

contract!(mod total_without_end { Subject::new(TotalTimeoutLayer::new(Duration::MAX)) });

contract!(mod attempt { Subject::new(AttemptTimeoutLayer::new(MINUTE).with_grpc_timeout()) });

contract!(mod attempt_to_the_end_of_the_body {
    Subject::new(AttemptTimeoutLayer::new(MINUTE).with_coverage(Coverage::Body))
});

contract!(mod attempt_with_an_idle_timeout {
    Subject::new(AttemptTimeoutLayer::new(MINUTE).with_idle_timeout(MINUTE))
});

contract!(mod attempt_that_watches_uploads {
    Subject::new(AttemptTimeoutLayer::new(MINUTE).watching_uploads())
});
