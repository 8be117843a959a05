//! The layer of this crate keeps the promises of every layer.

use courteous_body::AnyBodyLayer;
use courteous_testkit::{Subject, contract};

contract!(mod any_body { Subject::new(AnyBodyLayer::new()) });
