use courteous_body::GuardBody;

use crate::permit::Permit;

/// The body of a limited response: the inner service's body, which holds its attempt's permit until
/// it has ended.
///
/// The permit is given back when the body has ended, at its first error, or when it is dropped: see
/// [`GuardBody`].
pub type PermitBody<B> = GuardBody<B, Permit>;
