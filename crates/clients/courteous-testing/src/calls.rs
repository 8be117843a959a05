use std::{fmt, ops::Deref, slice, time::Duration, vec};

use crate::Call;

/// All calls so far, in the order in which they came: a copy of the record.
///
/// A slice of [`Call`]s with questions of its own. `Display` and `Debug` show a log of one line for
/// each call, with the time since the first one:
///
/// ```text
/// #1 +0ns POST http://api.example/charges, attempt 1, key 6f1c -> 503 Service Unavailable
/// #2 +104ms POST http://api.example/charges, attempt 2, key 6f1c -> 200 OK
/// ```
///
/// It shows targets and idempotency keys, and no other header field and no body.
#[derive(Clone, Default)]
pub struct Calls(Vec<Call>);

impl Calls {
    pub(crate) const fn new(calls: Vec<Call>) -> Self {
        Self(calls)
    }

    /// How long after the call before it each call came: one less than there are calls.
    ///
    /// Between the attempts of one call that are answered at once, these are the waits of the
    /// retry.
    #[must_use]
    pub fn gaps(&self) -> Vec<Duration> {
        let pairs = self.0.windows(2);
        pairs
            .map(|pair| pair[1].at().saturating_duration_since(pair[0].at()))
            .collect()
    }

    /// The idempotency key of each call: see [`Call::key`].
    #[must_use]
    pub fn keys(&self) -> Vec<Option<&str>> {
        self.0.iter().map(Call::key).collect()
    }

    /// How often a server that honours idempotency keys would have acted: the calls that it [has
    /// processed](Call::is_processed), of which those with the same key count as one.
    ///
    /// If the calls are attempts of one operation, more than 1 is an operation that was done twice.
    #[must_use]
    pub fn times_processed(&self) -> usize {
        let mut keys = Vec::new();
        let processed = self.0.iter().filter(|call| call.is_processed());
        let acts = processed.filter(|call| match call.key() {
            None => true,
            Some(key) if keys.contains(&key) => false,
            Some(key) => {
                keys.push(key);
                true
            }
        });
        acts.count()
    }

    /// The calls whose target has this path.
    #[must_use]
    pub fn to(&self, path: &str) -> Self {
        let calls = self.0.iter().filter(|call| call.uri().path() == path);
        Self(calls.cloned().collect())
    }
}

impl Deref for Calls {
    type Target = [Call];

    fn deref(&self) -> &[Call] {
        &self.0
    }
}

impl IntoIterator for Calls {
    type Item = Call;
    type IntoIter = vec::IntoIter<Call>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Calls {
    type Item = &'a Call;
    type IntoIter = slice::Iter<'a, Call>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else {
            return f.write_str("no calls");
        };
        for (index, call) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            call.write(f, first.at())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calls(\n{self}\n)")
    }
}
