use std::{error::Error, fmt};

/// A setting that counts something was 0, and has to be at least 1.
///
/// ```
/// use courteous_core::InvalidCount;
///
/// let error = InvalidCount::new("max_attempts");
/// assert_eq!(error.to_string(), "`max_attempts` must be at least 1, not 0");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCount {
    setting: &'static str,
}

impl InvalidCount {
    /// `setting` was 0.
    #[must_use]
    pub const fn new(setting: &'static str) -> Self {
        Self { setting }
    }

    /// The name of the setting.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for InvalidCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` must be at least 1, not 0", self.setting)
    }
}

impl Error for InvalidCount {}
