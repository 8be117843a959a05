use courteous_body::GuardBody;

use crate::permit::Permit;

/// The body of a limited response: the inner service's body, which holds its call's permit until it
/// has ended.
///
/// The permit is given back when the body has ended, at its first error, or when it is dropped: see
/// [`GuardBody`]. After the call's deadline, another call that finds the limit full takes the
/// permit back. A body that is leaked, by [`std::mem::forget`], keeps its permit until then, or for
/// ever without a deadline.
pub type PermitBody<B> = GuardBody<B, Permit>;
