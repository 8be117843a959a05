//! What is a rate, and what is none.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{num::NonZeroU32, time::Duration};

use courteous_throttle::Rate;

#[test]
fn a_rate_is_read_as_it_is_written() {
    for (text, nanos, burst) in [
        ("10/s", 100_000_000, 1),
        ("11/s", 90_909_090, 2),
        ("1000/s", 1_000_000, 10),
        ("20000/s", 50_000, 200),
        ("0.5/s", 2_000_000_000, 1),
        ("2.5/s", 400_000_000, 1),
        ("5/m", 12_000_000_000, 1),
        ("1000/h", 3_600_000_000, 1),
        ("1000000000/s", 1, 10_000_000),
    ] {
        let rate: Rate = text.parse().unwrap();
        assert_eq!(rate.interval(), Duration::from_nanos(nanos), "{text}");
        assert_eq!(rate.burst().get(), burst, "{text}");
    }
}

#[test]
fn what_is_no_rate_is_refused_with_its_rule() {
    for (text, rule) in [
        ("10", "it must read like `10/s`"),
        ("10/d", "its unit must be `s`, `m` or `h`"),
        ("10/ s", "its unit must be `s`, `m` or `h`"),
        (
            "inf/s",
            "its number must be a decimal one, like `10` or `0.5`",
        ),
        (
            "+5/s",
            "its number must be a decimal one, like `10` or `0.5`",
        ),
        (
            "1e9/s",
            "its number must be a decimal one, like `10` or `0.5`",
        ),
        (
            "-1/s",
            "its number must be a decimal one, like `10` or `0.5`",
        ),
        ("/s", "its number must be a decimal one, like `10` or `0.5`"),
        ("0/s", "it must be a number above zero"),
        ("1000000001/s", "a token must take at least a nanosecond"),
        ("0.0000000001/h", "a token must take at most 100 years"),
    ] {
        let error = text.parse::<Rate>().unwrap_err();
        assert_eq!(error.to_string(), format!("invalid rate `{text}`: {rule}"));
    }
    for tokens in [
        0.0,
        -0.0,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
    ] {
        assert!(Rate::per_second(tokens).is_err(), "{tokens}");
        assert!(Rate::per_minute(tokens).is_err(), "{tokens}");
        assert!(Rate::per_hour(tokens).is_err(), "{tokens}");
    }
    assert!(Rate::new(0, Duration::from_secs(1)).is_err());
    assert!(Rate::new(1, Duration::ZERO).is_err());
    assert!(Rate::new(1, Duration::MAX).is_err());
    assert!(Rate::new(u32::MAX, Duration::from_nanos(1)).is_err());
}

#[test]
fn the_extremes_are_rates() {
    assert_eq!(
        Rate::new(1, Duration::from_nanos(1)).unwrap().interval(),
        Duration::from_nanos(1)
    );
    let slow = Rate::new(1, Duration::from_nanos(u64::MAX)).unwrap();
    assert_eq!(slow.interval(), Duration::from_nanos(u64::MAX));
    assert!(Rate::new(u32::MAX, Duration::from_nanos(u64::MAX)).is_ok());
}

#[test]
fn a_fixed_window_cannot_be_exceeded_wherever_it_begins() {
    let burst = NonZeroU32::new(20).unwrap();
    let minute = Duration::from_secs(60);
    let rate = Rate::within_window(100, minute, burst).unwrap();
    assert_eq!(rate, Rate::new(80, minute).unwrap().with_burst(burst));
    assert_eq!(
        Rate::within_window(20, minute, burst)
            .unwrap_err()
            .to_string(),
        "invalid rate `20 per 60s with a burst of 20`: the burst must be below the quota",
    );
}
