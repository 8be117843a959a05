//! What every layer promises, promised by the one here.

use courteous_body::AnyBodyLayer;
use courteous_testkit::{Subject, contract};

contract!(mod any_body { Subject::new(AnyBodyLayer::new()) });
