use std::{error, fmt};

/// What had not ended at the deadline of a [`close`](crate::client::Closer::close).
///
/// The client stays closed. Another `close` waits for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    in_flight: usize,
    has_unflushed_letters: bool,
}

impl Unfinished {
    pub(crate) const fn new(in_flight: usize, has_unflushed_letters: bool) -> Self {
        Self {
            in_flight,
            has_unflushed_letters,
        }
    }

    /// How many calls were still in flight, response bodies included.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether dead letters were handed over that were not durable yet.
    #[must_use]
    pub const fn has_unflushed_letters(&self) -> bool {
        self.has_unflushed_letters
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_flight {
            0 => return f.write_str("dead letters not durable at the deadline of the close"),
            1 => f.write_str("1 call still in flight")?,
            calls => write!(f, "{calls} calls still in flight")?,
        }
        if self.has_unflushed_letters {
            f.write_str(", and dead letters not durable,")?;
        }
        f.write_str(" at the deadline of the close")
    }
}

impl error::Error for Unfinished {}
