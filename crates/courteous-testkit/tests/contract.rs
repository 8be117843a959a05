//! A layer that does nothing passes the contract, and so do two of them.

use courteous_testkit::{Subject, contract};
use tower_layer::{Identity, Stack};

contract!(mod one {
    Subject::new(Identity::new())
});

contract!(mod two {
    Subject::new(Stack::new(Identity::new(), Identity::new()))
});
