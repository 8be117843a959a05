//! Amounts of time as text. Writing rounds down, and yields nothing for what would read as zero.

use std::time::Duration;

/// gRPC's units, finest first, and their nanoseconds.
const GRPC_UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60_000_000_000),
    ('H', 3_600_000_000_000),
];
const GRPC_DIGITS: usize = 8;
const GRPC_MAX: u128 = 99_999_999;

pub(super) fn write_grpc(time: Duration) -> Option<String> {
    let nanos = time.as_nanos();
    if nanos == 0 {
        return None;
    }
    let fitting = GRPC_UNITS
        .into_iter()
        .map(|(unit, size)| (nanos / size, unit))
        .find(|&(value, _)| value <= GRPC_MAX);
    let (value, unit) = fitting.unwrap_or((GRPC_MAX, 'H'));
    Some(format!("{value}{unit}"))
}

pub(super) fn read_grpc(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    if digits.len() > GRPC_DIGITS {
        return None;
    }
    let value = integer(digits)?;
    match unit {
        'n' => Some(Duration::from_nanos(value)),
        'u' => Some(Duration::from_micros(value)),
        'm' => Some(Duration::from_millis(value)),
        'S' => Some(Duration::from_secs(value)),
        'M' => Some(Duration::from_secs(value * 60)),
        'H' => Some(Duration::from_secs(value * 3600)),
        _ => None,
    }
}

pub(super) fn write_millis(time: Duration) -> Option<String> {
    let millis = time.as_millis();
    (millis > 0).then(|| millis.to_string())
}

pub(super) fn read_millis(text: &str) -> Option<Duration> {
    integer(text).map(Duration::from_millis)
}

pub(super) fn write_seconds(time: Duration) -> Option<String> {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    match (seconds, millis) {
        (0, 0) => None,
        (_, 0) => Some(seconds.to_string()),
        _ => {
            let mut text = format!("{seconds}.{millis:03}");
            text.truncate(text.trim_end_matches('0').len());
            Some(text)
        }
    }
}

pub(super) fn read_seconds(text: &str) -> Option<Duration> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = Duration::from_secs(integer(whole)?);
    // Digits below a nanosecond are checked, and not counted.
    if decimals.is_empty() || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = integer(&format!("{decimals:0<9.9}"))?;
    seconds.checked_add(Duration::from_nanos(nanos))
}

/// Digits only: `parse` alone would take a sign.
fn integer(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    // "Timeout -> `grpc-timeout` TimeoutValue TimeoutUnit; TimeoutValue -> {positive integer as
    // ASCII string of at most 8 digits}"
    #[test]
    fn a_grpc_timeout_is_up_to_eight_digits_and_a_unit() {
        assert_eq!(read_grpc("00000001n"), Some(Duration::from_nanos(1)));
        assert_eq!(read_grpc("10u"), Some(Duration::from_micros(10)));
        assert_eq!(read_grpc("00000010m"), Some(Duration::from_millis(10)));
        assert_eq!(read_grpc("1234S"), secs(1234));
        assert_eq!(read_grpc("00000001M"), secs(60));
        assert_eq!(read_grpc("99999999H"), secs(359_999_996_400));
        for wrong in [
            "",
            "1234",
            "1234x",
            "1234s",
            "-1S",
            "+1S",
            "9a1S",
            "S",
            "000000000S",
            "1.5S",
            "1 S",
            " 1S",
            "1h",
            "1é",
        ] {
            assert_eq!(read_grpc(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_grpc_timeout_is_written_in_the_finest_unit_that_fits() {
        let write = |nanos| write_grpc(Duration::from_nanos(nanos)).unwrap();
        assert_eq!(write(1), "1n");
        assert_eq!(write(12_345_678), "12345678n");
        assert_eq!(write(99_999_999), "99999999n");
        assert_eq!(write(100_000_000), "100000u");
        // Rounded down, where grpc-go rounds up: the server must not have more time than we have.
        assert_eq!(write(123_456_789), "123456u");
        let write = |seconds| write_grpc(Duration::from_secs(seconds)).unwrap();
        assert_eq!(write(123_456_789), "2057613M");
        assert_eq!(write(123_456_789 * 60), "2057613H");
        assert_eq!(write_grpc(Duration::MAX).unwrap(), "99999999H");
    }

    #[test]
    fn milliseconds_are_digits_alone() {
        assert_eq!(write_millis(Duration::from_micros(1999)).unwrap(), "1");
        assert_eq!(
            write_millis(Duration::MAX).unwrap(),
            "18446744073709551615999"
        );
        assert_eq!(read_millis("1500"), Some(Duration::from_millis(1500)));
        for wrong in ["", "-1", "+1", "1.5", "1e3", " 1", "99999999999999999999"] {
            assert_eq!(read_millis(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn seconds_have_up_to_three_decimals() {
        assert_eq!(write_seconds(Duration::from_secs(30)).unwrap(), "30");
        assert_eq!(write_seconds(Duration::from_millis(1500)).unwrap(), "1.5");
        assert_eq!(
            write_seconds(Duration::from_micros(20_999)).unwrap(),
            "0.02"
        );
        assert_eq!(read_seconds("30"), secs(30));
        assert_eq!(read_seconds("1.5"), Some(Duration::from_millis(1500)));
        let nanos = Some(Duration::from_nanos(123_456_789));
        assert_eq!(read_seconds("0.1234567899"), nanos);
        for wrong in ["", ".", "1.", ".5", "-1", "1.-5", "1.5.5", "inf", "1e3"] {
            assert_eq!(read_seconds(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn no_time_cannot_be_written() {
        assert_eq!(write_grpc(Duration::ZERO), None);
        assert_eq!(write_millis(Duration::from_micros(999)), None);
        assert_eq!(write_seconds(Duration::from_micros(999)), None);
    }

    /// Whether `stated` is no more than `time`, and less than a millisecond short of it.
    fn is_rounded_down(stated: Option<Duration>, time: Duration) -> bool {
        stated.is_some_and(|stated| stated <= time && time - stated < Duration::from_millis(1))
    }

    proptest! {
        #[test]
        fn no_format_ever_states_more_than_there_is(
            seconds: u64,
            nanos in 1_000_000..1_000_000_000_u32,
        ) {
            // Of all sizes, not only huge ones.
            for shift in 16..64 {
                let time = Duration::new(seconds >> shift, nanos);
                let grpc = write_grpc(time).unwrap();
                prop_assert!(grpc.len() <= GRPC_DIGITS + 1);
                prop_assert!(read_grpc(&grpc).unwrap() <= time);
                prop_assert!(is_rounded_down(read_seconds(&write_seconds(time).unwrap()), time));
                prop_assert!(is_rounded_down(read_millis(&write_millis(time).unwrap()), time));
            }
        }
    }
}
