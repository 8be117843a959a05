//! What every store promises, as test functions for any [`LetterStore`](crate::LetterStore), for the tests of a store
//! of your own (feature `test-util`).
//!
//! The macro of the same name makes a `#[tokio::test]` of each function. The crate that uses it
//! needs Tokio with the features `macros`, `rt-multi-thread` and `time`:
//!
//! ```
//! use std::sync::Arc;
//!
//! use courteous_dead_letter::{Clock, MemoryStore, LetterStore, conformance};
//!
//! conformance!(mod memory {
//!     async |clock: Clock| (Arc::new(MemoryStore::new().with_clock(clock)) as Arc<dyn LetterStore>, ())
//! });
//! # fn main() {}
//! ```
//!
//! The block is an async closure. It gets the [`Clock`](crate::Clock) that the store must use. It returns the
//! store, and a value that is kept while the store is used, such as a temporary directory. The
//! clock is fixed at the system's time, and moves only by hours, so that a store that uses a
//! database's clock also passes.
//!
//! # Panics
//!
//! Each function panics if the store breaks its promise.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test panics, and its name says what it tests"
)]

mod claims;
mod letters;
mod management;
mod model;
mod settlements;
mod steps;

pub use self::{
    claims::*,
    letters::*,
    management::*,
    model::*,
    settlements::*,
    steps::{Any, clock, letter},
};

/// One `#[tokio::test]` for each promise of a [`LetterStore`](crate::LetterStore): see the [module](mod@crate::conformance).
#[macro_export]
macro_rules! conformance {
    (mod $name:ident { $make:expr }) => {
        $crate::conformance! { mod $name { $make }
            a_letter_is_read_back_as_it_was
            a_letter_whose_key_cannot_be_used_again_is_expired_from_the_beginning
            a_sealed_body_is_kept_as_it_is
            a_letter_is_kept_once
            dropping_the_future_of_a_push_takes_nothing_back
            many_letters_pushed_at_once_are_all_kept
            a_flush_waits_for_letters_whose_futures_were_dropped
            the_oldest_are_claimed_first
            a_claim_of_none_claims_none
            what_is_claimed_is_not_claimed_again_until_its_lease_ends
            claimers_at_once_never_share_a_record
            not_before_is_waited_for
            a_claim_can_be_narrowed
            only_the_newest_fence_settles
            a_late_settlement_counts_if_nobody_has_claimed_since
            what_is_settled_has_its_state_and_is_not_claimed
            a_failed_redrive_is_pending_with_its_failure
            what_was_not_sent_counts_no_redrive
            a_list_is_filtered_and_paged_oldest_first
            stats_count_by_reason_and_state
            a_mark_changes_the_state_by_hand
            a_mark_as_pending_forgets_what_was_to_be_waited_for
            a_mark_makes_an_older_fence_stale
            what_is_claimed_cannot_be_marked
            a_purge_removes_what_was_settled_long_ago_and_nothing_else
            what_is_not_there_is_not_found
            it_does_the_same_as_the_store_in_memory
        }
    };
    (mod $name:ident { $make:expr } $($promise:ident)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let clock = $crate::conformance::clock();
                    let (store, _guard) = ($make)(clock.clone()).await;
                    $crate::conformance::$promise(&store, &clock).await;
                }
            )+
        }
    };
}
