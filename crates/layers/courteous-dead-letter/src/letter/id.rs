use std::{
    error::Error,
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use courteous_core::{NoRandomBytes, random_bytes};
use uuid::{Builder, Uuid};

/// The id of a record: a UUID of version 7, so that sorted ids are sorted by the time of recording.
///
/// Within a millisecond, ids are also sorted, to about a quarter of a microsecond. Between
/// machines, the order is as good as the agreement of their clocks.
///
/// ```
/// use courteous_dead_letter::LetterId;
///
/// let id: LetterId = "0190163d-8694-739b-aea5-966c26f8ad91".parse()?;
/// assert_eq!(id.to_string(), "0190163d-8694-739b-aea5-966c26f8ad91");
/// # Ok::<_, courteous_dead_letter::InvalidId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(Uuid);

impl LetterId {
    /// A new id for a letter that is recorded at `now`. The id's 62 random bits are drawn from the
    /// operating system, so that processes that were forked from one process get different ids at
    /// the same moment.
    ///
    /// # Errors
    ///
    /// If the operating system has no random bytes to give.
    pub fn new(now: SystemTime) -> Result<Self, NoRandomBytes> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut rest: [u8; 10] = random_bytes()?;
        // RFC 9562, section 6.2, method 3: twelve bits for the time below a millisecond, in front
        // of the random bits.
        let fraction = u64::from(since.subsec_nanos()) % 1_000_000 * 4096 / 1_000_000;
        [rest[0], rest[1]] = (fraction as u16).to_be_bytes();
        Ok(Self(
            Builder::from_unix_timestamp_millis(millis(since), &rest).into_uuid(),
        ))
    }

    /// The id with these 128 bits.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }

    /// The 128 bits of the id. The first 48 bits are the milliseconds since 1970.
    #[must_use]
    pub const fn to_bits(self) -> u128 {
        self.0.as_u128()
    }

    /// When the id was made, to the millisecond.
    #[must_use]
    pub fn recorded_at(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis((self.to_bits() >> 80) as u64)
    }

    /// The lowest id of that time: no id that is made at `time` or later sorts before it.
    #[must_use]
    pub fn floor(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_bits(u128::from(millis(since)) << 80)
    }
}

/// 48 bits of milliseconds: they last until the year 10889.
fn millis(since: Duration) -> u64 {
    const MAX: u64 = (1 << 48) - 1;
    u64::try_from(since.as_millis()).map_or(MAX, |millis| millis.min(MAX))
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LetterId({self})")
    }
}

impl FromStr for LetterId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId(()))
    }
}

/// The error for a text that is not a [`LetterId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId(());

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a dead letter is a UUID")
    }
}

impl Error for InvalidId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_by_the_time_of_recording() {
        let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let times = (0..5000).map(|i| start + Duration::from_nanos(250 * i));
        let ids: Vec<_> = times.map(|time| LetterId::new(time).unwrap()).collect();
        assert!(ids.is_sorted());
        assert!(ids[0] >= LetterId::floor(start));
        assert!(ids[4999] < LetterId::floor(start + Duration::from_millis(2)));
    }

    #[test]
    fn an_id_is_a_uuid_of_version_7_that_tells_its_time() {
        let time = UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let id = LetterId::new(time + Duration::from_nanos(999_999)).unwrap();
        assert_eq!(id.recorded_at(), time);
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(LetterId::from_bits(id.to_bits()), id);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(LetterId::new(time), LetterId::new(time));
    }

    #[test]
    fn a_time_that_no_id_can_hold_is_the_first_or_the_last_one() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(LetterId::new(before).unwrap().recorded_at(), UNIX_EPOCH);
        let last = LetterId::new(crate::clock::end()).unwrap().recorded_at();
        assert_eq!(last, UNIX_EPOCH + Duration::from_millis((1 << 48) - 1));
    }

    #[test]
    fn what_is_no_uuid_is_no_id() {
        assert_eq!("42".parse::<LetterId>(), Err(InvalidId(())));
    }
}
