//! The contract that every layer passes, for every ordered pair of layers, including a layer with
//! itself.
//!
//! The inner service's clones are not ready until they have been polled, and a retry in the pair
//! makes three attempts. The matrix has no gaps: each layer of the list is put around each layer.

mod parts;

use courteous::Stack;
use courteous_testkit::{Subject, contract};

/// One module for each outer layer, which has one module for each inner layer.
macro_rules! pairs {
    ($($outer:ident)*) => {
        $(
            mod $outer {
                use super::*;

                contract!(mod around_total_timeout {
                    parts::$outer().around(parts::total_timeout())
                });
                contract!(mod around_attempt_timeout {
                    parts::$outer().around(parts::attempt_timeout())
                });
                contract!(mod around_idempotency_key {
                    parts::$outer().around(parts::idempotency_key())
                });
                contract!(mod around_retry {
                    parts::$outer().around(parts::retry())
                });
                contract!(mod around_throttle {
                    parts::$outer().around(parts::throttle())
                });
                contract!(mod around_concurrency_limit {
                    parts::$outer().around(parts::concurrency_limit())
                });
            }
        )*
    };
}

pairs!(total_timeout attempt_timeout idempotency_key retry throttle concurrency_limit);

contract!(mod the_recommended_stack {
    let limited = parts::throttle().around(parts::attempt_timeout());
    let retried = parts::retry().around(parts::concurrency_limit().around(limited));
    parts::idempotency_key().around(parts::total_timeout().around(retried))
});

#[test]
fn a_server_with_many_names_changes_nothing_for_others_in_the_standard_stack() {
    contract::a_server_with_many_names_changes_nothing_for_others(|| {
        Subject::new(Stack::new().build().unwrap()).keeps_origins_apart(1)
    });
}
