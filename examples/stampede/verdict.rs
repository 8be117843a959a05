//! When one fleet is clearly better than another.

use crate::fleet::Outcome;

/// Whether `courteous` served at least a fifth of all calls more than `other`, and recovered in at
/// most half of its time.
pub(crate) fn is_clearly_better(courteous: &Outcome, other: &Outcome) -> bool {
    let serves_more = courteous.served_share >= other.served_share + 0.2;
    let recovers_sooner = match (courteous.recovery, other.recovery) {
        (Some(courteous), Some(other)) => 2 * courteous <= other,
        (Some(_), None) => true,
        (None, _) => false,
    };
    serves_more && recovers_sooner
}
