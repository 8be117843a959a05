//! Whether a record may be sent: pure functions that are given the time.

use std::time::{Duration, SystemTime};

use crate::{NotSent, Payload, Reason, Record, Redrive, State};

/// Why a record must not be sent.
#[derive(Debug)]
pub(super) enum Hold {
    Expire,
    Keep(NotSent),
}

impl Redrive {
    /// Whether a claim at `now` would get `record`.
    pub(super) fn is_due(&self, record: &Record, now: SystemTime) -> bool {
        let is_free = match record.state {
            State::Claimed { until, .. } => until <= now,
            _ => true,
        };
        let not_before = record.letter.failure.not_before;
        is_free
            && not_before.is_none_or(|then| then <= now)
            && self.id.is_none_or(|only| record.letter.id == only)
    }

    /// How old a key may be when its letter is sent, as the call may take its whole time.
    pub(super) const fn usable_key_lifetime(&self) -> Duration {
        self.key_lifetime.saturating_sub(self.total_timeout)
    }

    /// Whether `record` may be sent at `now`, as far as that is known without fresh secrets.
    pub(super) fn check(&self, record: &Record, now: SystemTime) -> Result<(), Hold> {
        let letter = &record.letter;
        // A record that was made pending by hand has the same key as before.
        if record.redrives >= self.max_redrives || letter.failure.reason == Reason::KeyReused {
            return Err(Hold::Expire);
        }
        // A clock that went back makes a key seem younger than it is. The hour between the lifetime
        // and a full day must cover that.
        if let Some(since) = letter.key_since()
            && now.duration_since(since).unwrap_or_default() > self.usable_key_lifetime()
        {
            return Err(Hold::Expire);
        }
        match letter.payload {
            Payload::Whole(_) => {}
            Payload::Scrubbed(_) => return Err(Hold::Keep(NotSent::BodyScrubbed)),
            Payload::Sealed(_) => return Err(Hold::Keep(NotSent::Sealed)),
            _ => return Err(Hold::Keep(NotSent::BodyIncomplete)),
        }
        let is_chosen = self.may_run_twice && self.id == Some(letter.id);
        if !letter.is_repeatable() && !is_chosen {
            return Err(Hold::Keep(NotSent::MayRunTwice));
        }
        if self.secrets.is_none() && !letter.withheld.is_empty() {
            let missing = letter.withheld.clone();
            return Err(Hold::Keep(NotSent::MissingSecrets(missing)));
        }
        Ok(())
    }
}
