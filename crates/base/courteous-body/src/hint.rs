use http_body::SizeHint;

/// A size hint that can be copied and reduced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hint {
    lower: u64,
    upper: Option<u64>,
}

impl Hint {
    pub(crate) const EMPTY: Self = Self {
        lower: 0,
        upper: Some(0),
    };

    pub(crate) fn of(hint: &SizeHint) -> Self {
        Self {
            lower: hint.lower(),
            upper: hint.upper(),
        }
    }

    /// The hint after `len` bytes were given. A source that gives more than it announced has
    /// nothing left.
    pub(crate) fn after(self, len: u64) -> Self {
        Self {
            lower: self.lower.saturating_sub(len),
            upper: self.upper.map(|upper| upper.saturating_sub(len)),
        }
    }
}

impl From<Hint> for SizeHint {
    fn from(hint: Hint) -> Self {
        let mut size = Self::new();
        if let Some(upper) = hint.upper {
            size.set_upper(upper);
        }
        size.set_lower(hint.lower);
        size
    }
}
