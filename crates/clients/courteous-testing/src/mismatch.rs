use std::{error::Error, fmt};

use crate::Calls;

/// The calls were not those that the script was made for.
///
/// `Display` has a line for each difference, and then the log of all calls:
///
/// ```text
/// the calls differ from the script:
/// - 1 of 3 answers was not given: 200 OK
/// - unexpected call #4
/// the calls:
/// #1 +0ns GET http://api.example/notes/1, attempt 1 -> 503 Service Unavailable
/// ...
/// ```
#[derive(Clone)]
pub struct Mismatch {
    differences: Vec<String>,
    calls: Calls,
}

impl Mismatch {
    pub(crate) const fn new(differences: Vec<String>, calls: Calls) -> Self {
        Self { differences, calls }
    }

    /// All calls.
    #[must_use]
    pub const fn calls(&self) -> &Calls {
        &self.calls
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the calls differ from the script:\n")?;
        for difference in &self.differences {
            writeln!(f, "- {difference}")?;
        }
        write!(f, "the calls:\n{}", self.calls)
    }
}

impl fmt::Debug for Mismatch {
    /// As `Display`: what a test shows that ends with this error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Mismatch {}
