//! A layer that does nothing passes the contract, and so do two of them.

use courteous_testkit::{Subject, contract};
use tower_layer::Identity;

contract!(mod one {
    Subject::new(Identity::new())
});

contract!(mod two {
    Subject::new(Identity::new()).around(Subject::new(Identity::new()))
});
