//! The promises that every layer keeps, each a function that panics where it is broken. See [`contract!`](crate::contract!).

mod built;
mod client;
mod flood;
mod released;
mod subject;
mod transparent;
mod waits;
mod wakers;

pub use built::{
    it_is_built_outside_a_runtime_and_serves_two_in_turn, its_types_are_send_sync_clone_and_debug,
};
pub use client::Client;
pub use flood::a_server_with_many_names_changes_nothing_for_others;
pub use released::{
    a_future_dropped_after_any_poll_releases_all, a_response_dropped_at_any_frame_releases_all,
};
pub use subject::Subject;
pub use transparent::{
    an_inner_call_error_comes_through, an_inner_readiness_error_comes_through,
    every_attempt_is_readied_afresh, it_calls_the_instance_that_it_polled,
    the_request_comes_through_unchanged, the_response_comes_through_unchanged,
};
pub use waits::{
    a_dropped_waiter_wakes_the_next, all_waiters_get_through, poll_ready_reserves_nothing,
    waiting_holds_nothing_of_the_inner_service,
};
pub use wakers::a_waker_may_make_another_call;

/// Tests that a layer passes the contract: a module with one `#[test]` for each promise.
///
/// The block makes a fresh [`Subject`] for each test; what it names must be in scope around the macro.
///
/// ```
/// use courteous_testkit::{Subject, contract};
/// use tower_layer::Identity;
///
/// contract!(mod identity { Subject::new(Identity::new()) });
/// ```
#[macro_export]
macro_rules! contract {
    (mod $name:ident $subject:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::contract!(@tests $subject
                poll_ready_reserves_nothing
                it_calls_the_instance_that_it_polled
                every_attempt_is_readied_afresh
                waiting_holds_nothing_of_the_inner_service
                a_dropped_waiter_wakes_the_next
                all_waiters_get_through
                a_waker_may_make_another_call
                a_server_with_many_names_changes_nothing_for_others
                a_future_dropped_after_any_poll_releases_all
                a_response_dropped_at_any_frame_releases_all
                an_inner_readiness_error_comes_through
                an_inner_call_error_comes_through
                the_request_comes_through_unchanged
                the_response_comes_through_unchanged
                it_is_built_outside_a_runtime_and_serves_two_in_turn
                its_types_are_send_sync_clone_and_debug
            );
        }
    };
    (@tests $subject:block $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::contract::$promise(|| $subject);
            }
        )*
    };
}
